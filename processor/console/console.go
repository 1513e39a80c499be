// Package console is farcall's HTTP port: health for an orchestrator and metrics for Prometheus. It changes nothing, and
// listens on loopback unless it is told otherwise.
package console

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health answers for the process.
type Health func(now time.Time) (live, ready bool, why []string)

// Options of the port.
type Options struct {
	Listen string // host:port
	// TokenFile holds a bearer token that every request but the health checks must carry.
	TokenFile         string
	CertFile, KeyFile string // both or neither; TLS 1.2 at least
	Registry          *prometheus.Registry
	Health            Health
	// History, if set, is for /readyz?verbose: days of history by account, "" for the organisation.
	History func() map[string]int64
	// Profiling serves Go's profiles. Those of the processor must take less than the 30 s that an answer may.
	Profiling bool
	Log       *slog.Logger
}

// mutexFraction is how many waits for a mutex there are to one in the profile.
const mutexFraction = 100

// shutdownLimit bounds the wait for requests under way when the process is asked to end.
const shutdownLimit = 3 * time.Second

// Serve runs the port until ctx ends, and then finishes the requests under way. Started, if not nil, is told the address
// once it listens. It fails at once on a file that can't be used and on a port that is taken.
func Serve(ctx context.Context, o Options, started func(addr string)) error {
	token := ""
	if o.TokenFile != "" {
		b, err := os.ReadFile(o.TokenFile)
		if err != nil {
			return fmt.Errorf("console.token_file: %w", err)
		}
		if token = strings.TrimSpace(string(b)); token == "" {
			return fmt.Errorf("console.token_file: %s is empty", o.TokenFile)
		}
	}
	var secure *tls.Config
	if o.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return fmt.Errorf("console.cert_file and key_file: %w", err)
		}
		secure = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	}
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("console.listen: %w", err)
	}
	srv := &http.Server{
		Handler: Handler(o, token), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn), TLSConfig: secure,
	}
	if started != nil {
		started(ln.Addr().String())
	}
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(finished)
		sctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
		defer cancel()
		if err := srv.Shutdown(sctx); err != nil {
			o.Log.Warn("console did not stop in time", "err", errors.Join(err, srv.Close()))
		}
	})
	if secure != nil {
		err = srv.ServeTLS(ln, "", "")
	} else {
		err = srv.Serve(ln)
	}
	// Serve returns when Shutdown begins, not when it is through.
	if !stop() {
		<-finished
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("console: %w", err)
}

// Handler answers the requests of the port. A token of "" asks for none.
func Handler(o Options, token string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {
		live, _, why := o.Health(time.Now())
		answer(w, live, why)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		_, ready, why := o.Health(time.Now())
		if r.URL.Query().Has("verbose") && o.History != nil {
			answer(w, ready, why, "history_days", o.History())
			return
		}
		answer(w, ready, why)
	})
	mux.Handle("GET /metrics", guard(token, promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{Registry: o.Registry})))
	if o.Profiling {
		runtime.SetMutexProfileFraction(mutexFraction)
		for path, h := range map[string]http.HandlerFunc{"": pprof.Index, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace} {
			mux.Handle("GET /debug/pprof/"+path, guard(token, h))
		}
	}
	return mux
}

// answer says whether all is well, why not, and further things by name.
func answer(w http.ResponseWriter, ok bool, why []string, more ...any) {
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if why == nil {
		why = []string{}
	}
	doc := map[string]any{"ok": ok, "why": why}
	for i := 0; i+1 < len(more); i += 2 {
		doc[more[i].(string)] = more[i+1]
	}
	// The status is sent: a client that has gone away has nothing left to be told.
	_ = json.NewEncoder(w).Encode(doc)
}

func guard(token string, h http.Handler) http.Handler {
	if token == "" {
		return h
	}
	want := []byte("Bearer " + token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "a bearer token is required", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}
