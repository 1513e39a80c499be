package console

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// patience is how long anything may take before a test gives up. It is no measure of speed.
const patience = 30 * time.Second

// health is a Health that always says the same.
func health(live, ready bool, why ...string) Health {
	return func(time.Time) (bool, bool, []string) { return live, ready, why }
}

func options() Options {
	r := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "farcall_example_total", Help: "An example."})
	c.Add(7)
	r.MustRegister(c)
	return Options{Listen: "127.0.0.1:0", Registry: r, Health: health(true, true), Log: slog.New(slog.DiscardHandler)}
}

func request(h http.Handler, method, path, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestProfiling: profiles are served where that is asked for, and to those who carry the token.
func TestProfiling(t *testing.T) {
	o := options()
	if w := request(Handler(o, ""), "GET", "/debug/pprof/heap", ""); w.Code != http.StatusNotFound {
		t.Errorf("without profiling, a profile is %d, want 404", w.Code)
	}
	o.Profiling = true
	h := Handler(o, "secret")
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/mutex", "/debug/pprof/profile?seconds=1"} {
		if w := request(h, "GET", path, ""); w.Code != http.StatusUnauthorized {
			t.Errorf("%s without the token is %d, want 401", path, w.Code)
		}
		if w := request(h, "GET", path, "Bearer secret"); w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s is %d with %d bytes", path, w.Code, w.Body.Len())
		}
	}
	if w := request(h, "GET", "/debug/pprof/cmdline", "Bearer secret"); w.Code == http.StatusOK {
		t.Error("the command line is served: it may hold what nobody should read")
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name        string
		health      Health
		live, ready int
		want        string
	}{
		{"well", health(true, true), 200, 200, `"why":[]`},
		{"restoring", health(true, false, "detect-0: partitions not running yet"), 200, 503, `"why":["detect-0: partitions not running yet"]`},
		{"stuck", health(false, false, "a", "b"), 503, 503, `"why":["a","b"]`},
	} {
		o := options()
		o.Health = c.health
		// A token is for the rest: an orchestrator has none.
		h := Handler(o, "secret")
		for path, status := range map[string]int{"/livez": c.live, "/readyz": c.ready} {
			w := request(h, "GET", path, "")
			if w.Code != status {
				t.Errorf("%s: %s is %d, want %d", c.name, path, w.Code, status)
			}
			var body struct {
				OK  *bool     `json:"ok"`
				Why *[]string `json:"why"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.OK == nil || *body.OK != (status == 200) || body.Why == nil {
				t.Errorf("%s: %s says %s", c.name, path, w.Body)
			}
			if !strings.Contains(w.Body.String(), c.want) || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s says %s as %s, want %s", c.name, path, w.Body, w.Header().Get("Content-Type"), c.want)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	w := request(Handler(options(), ""), "GET", "/metrics", "")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "\nfarcall_example_total 7\n") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestChangesNothing: whatever is not a question gets no answer.
func TestChangesNothing(t *testing.T) {
	h := Handler(options(), "")
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			if w := request(h, method, path, ""); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
	for _, path := range []string{"/", "/debug/pprof/", "/metrics/x", "/livez/.."} {
		if w := request(h, "GET", path, ""); w.Code == 200 {
			t.Errorf("%s is answered: %s", path, w.Body)
		}
	}
}

// TestToken: without the token there is one answer, the same for everyone, that says nothing of how close a guess was.
func TestToken(t *testing.T) {
	h := Handler(options(), "secret")
	if w := request(h, "GET", "/metrics", "Bearer secret"); w.Code != 200 || !strings.Contains(w.Body.String(), "farcall_example_total") {
		t.Errorf("with the token: %d %s", w.Code, w.Body)
	}
	want := request(h, "GET", "/metrics", "")
	if want.Code != http.StatusUnauthorized || want.Header().Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("without a token: %d %v", want.Code, want.Header())
	}
	for _, guess := range []string{"Bearer", "Bearer ", "Bearer s", "Bearer secre", "Bearer secrex", "Bearer secret ", "Bearer secrets", "Basic secret", "secret", "Bearer SECRET"} {
		got := request(h, "GET", "/metrics", guess)
		if got.Code != want.Code || got.Body.String() != want.Body.String() || cmp.Diff(want.Header(), got.Header()) != "" {
			t.Errorf("%q is answered differently: %d %s", guess, got.Code, got.Body)
		}
	}
	if strings.Contains(want.Body.String(), "secret") || strings.Contains(want.Body.String(), "farcall_") {
		t.Errorf("the refusal tells: %s", want.Body)
	}
}

// serve runs Serve and returns its address. The test waits for its end.
func serve(t *testing.T, o Options) (addr string, cancel context.CancelFunc, done chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan string, 1)
	done = make(chan error, 1)
	go func() { done <- Serve(ctx, o, func(addr string) { started <- addr }) }()
	t.Cleanup(cancel)
	select {
	case addr = <-started:
		return addr, cancel, done
	case err := <-done:
		t.Fatalf("it did not start: %v", err)
	case <-time.After(patience):
		t.Fatal("it did not start")
	}
	panic("unreachable")
}

func ended(t *testing.T, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("it did not end")
		return nil
	}
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func client(conf *tls.Config) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: conf}}
}

func get(c *http.Client, url, token string) (status int, body string, err error) {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// TestServe is the whole port, with a token from a file, until the end of the context.
func TestServe(t *testing.T) {
	o := options()
	o.TokenFile = write(t, " secret\n")
	addr, cancel, done := serve(t, o)
	for _, c := range []struct {
		path, token string
		want        int
	}{{"/livez", "", 200}, {"/readyz", "", 200}, {"/metrics", "", 401}, {"/metrics", "wrong", 401}, {"/metrics", "secret", 200}} {
		if status, body, err := get(client(nil), "http://"+addr+c.path, c.token); err != nil || status != c.want {
			t.Errorf("%s with %q: %d %s %v, want %d", c.path, c.token, status, body, err, c.want)
		}
	}
	cancel()
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
	if _, _, err := get(client(nil), "http://"+addr+"/livez", ""); err == nil {
		t.Error("it still answers")
	}
}

// TestLoopback: told to listen on loopback, it can't be reached by another address of the machine.
func TestLoopback(t *testing.T) {
	addr, cancel, done := serve(t, options())
	host, port, err := net.SplitHostPort(addr)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("it listens on %s: %v", addr, err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		if c, err := net.DialTimeout("tcp", net.JoinHostPort(n.IP.String(), port), patience); err == nil {
			t.Errorf("it answers at %s", n.IP)
			c.Close()
		}
	}
	cancel()
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
}

// TestFinishesRequests: what is being answered when the process is asked to end is answered.
func TestFinishesRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	o := options()
	o.Health = func(time.Time) (bool, bool, []string) {
		close(entered)
		<-release
		return true, true, nil
	}
	addr, cancel, done := serve(t, o)
	type answer struct {
		status int
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		status, _, err := get(client(nil), "http://"+addr+"/livez", "")
		answered <- answer{status, err}
	}()
	<-entered
	cancel()
	select {
	case err := <-done:
		t.Errorf("it ended with a request under way: %v", err)
	case <-time.After(100 * time.Millisecond): // within shutdownLimit
	}
	close(release)
	if a := <-answered; a.err != nil || a.status != 200 {
		t.Errorf("the request got %d %v", a.status, a.err)
	}
	if !t.Failed() {
		if err := ended(t, done); err != nil {
			t.Error(err)
		}
	}
}

// certificate writes a self-signed certificate for 127.0.0.1 with its key, and returns who trusts it.
func certificate(t *testing.T) (certFile, keyFile string, trust *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	trust = x509.NewCertPool()
	trust.AppendCertsFromPEM(certPEM)
	return write(t, string(certPEM)), write(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))), trust
}

func TestTLS(t *testing.T) {
	o := options()
	var trust *x509.CertPool
	o.CertFile, o.KeyFile, trust = certificate(t)
	o.TokenFile = write(t, "secret")
	addr, cancel, done := serve(t, o)
	secure := client(&tls.Config{RootCAs: trust})
	if status, body, err := get(secure, "https://"+addr+"/metrics", "secret"); err != nil || status != 200 || !strings.Contains(body, "farcall_example_total") {
		t.Errorf("%d %s %v", status, body, err)
	}
	if status, _, err := get(secure, "https://"+addr+"/metrics", ""); err != nil || status != 401 {
		t.Errorf("without a token: %d %v", status, err)
	}
	if status, body, err := get(client(nil), "http://"+addr+"/metrics", "secret"); err == nil && status == 200 {
		t.Errorf("it answers in the clear: %s", body)
	}
	old := client(&tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if _, _, err := get(old, "https://"+addr+"/livez", ""); err == nil {
		t.Error("it speaks TLS 1.1")
	}
	if _, _, err := get(client(&tls.Config{RootCAs: x509.NewCertPool()}), "https://"+addr+"/livez", ""); err == nil {
		t.Error("the test trusts anyone")
	}
	cancel()
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
}

// TestServeErrors: what can't work fails at once, and names the setting.
func TestServeErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cert, key, _ := certificate(t)
	missing := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no token file", func(o *Options) { o.TokenFile = missing }, "console.token_file: open "},
		{"empty token file", func(o *Options) { o.TokenFile = write(t, " \n") }, "console.token_file: "},
		{"no certificate", func(o *Options) { o.CertFile, o.KeyFile = missing, key }, "console.cert_file and key_file: "},
		{"no key", func(o *Options) { o.CertFile, o.KeyFile = cert, missing }, "console.cert_file and key_file: "},
		{"key for a certificate", func(o *Options) { o.CertFile, o.KeyFile = key, cert }, "console.cert_file and key_file: "},
		{"port taken", func(o *Options) { o.Listen = taken.Addr().String() }, "console.listen: "},
		{"no address", func(o *Options) { o.Listen = "nowhere" }, "console.listen: "},
	} {
		o := options()
		c.change(&o)
		err := Serve(t.Context(), o, func(addr string) { t.Errorf("%s: it started on %s", c.name, addr) })
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

// TestEndedBeforeItStarted: a process that is asked to end while it starts ends.
func TestEndedBeforeItStarted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, options(), nil) }()
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
}

// brokenWriter is a client that went away.
type brokenWriter struct{ httptest.ResponseRecorder }

func (*brokenWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestClientGoesAway(t *testing.T) {
	var log bytes.Buffer
	o := options()
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	w := &brokenWriter{*httptest.NewRecorder()}
	Handler(o, "").ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	if w.Code != 200 || log.Len() > 0 {
		t.Errorf("%d, logged %q", w.Code, log.String())
	}
}
