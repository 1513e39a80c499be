//go:build linux

package kafka

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestVersionIsThatOfThePom(t *testing.T) {
	if !bytes.Contains(pom, []byte("<kafka.version>"+Version+"</kafka.version>")) {
		t.Errorf("pom.xml does not name version %s", Version)
	}
}

// fakeMaven puts a mvn before all others in PATH, gives the test an empty cache, and says where the script counts its
// calls. The script runs in the folder where it should put the jars.
func fakeMaven(t *testing.T, script string) (calls string) {
	t.Helper()
	if _, _, err := findJava(t.Context()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	bin := t.TempDir()
	calls = filepath.Join(bin, "calls")
	script = "#!/bin/sh\necho call >>" + calls + "\n" + script
	if err := os.WriteFile(filepath.Join(bin, "mvn"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return calls
}

func TestJarsAreFetchedOnce(t *testing.T) {
	calls := fakeMaven(t, "mkdir jars && echo no jar >jars/kafka_2.13-"+Version+".jar\n")
	home, err := cacheFolder()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			d, err := prepare(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if want := filepath.Join(home, "kafka_2.13-"+Version+".jar"); d.classpath != want {
				t.Errorf("classpath %q, want %q", d.classpath, want)
			}
			// These jars run nothing, so that no class archive can be made: that is no reason to fail.
			if d.archive != "" {
				t.Errorf("an archive from an empty jar: %s", d.archive)
			}
		})
	}
	wg.Wait()
	if got, err := os.ReadFile(calls); err != nil || string(got) != "call\n" {
		t.Errorf("mvn was called %q times, %v; want once", got, err)
	}
	why, err := filepath.Glob(filepath.Join(home, "classes-*.failed"))
	if err != nil || len(why) != 1 {
		t.Fatalf("%d files say why there is no archive, %v; want 1", len(why), err)
	}
	if text, err := os.ReadFile(why[0]); err != nil || !strings.Contains(string(text), "StorageTool") {
		t.Errorf("the reason is %q, %v", text, err)
	}
	wantOnly(t, filepath.Dir(home), "lock", filepath.Base(home))
}

func TestFetchThatFailed(t *testing.T) {
	for name, tc := range map[string]struct {
		script      string
		unavailable bool
		want        string
	}{
		"no network": {"mkdir jars; echo no route to the repository; exit 1", true, "no route to the repository"},
		"no jars":    {"mkdir jars", false, "made no"},
	} {
		t.Run(name, func(t *testing.T) {
			fakeMaven(t, tc.script)
			_, err := prepare(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if errors.Is(err, errUnavailable) != tc.unavailable {
				t.Errorf("%v: is it this machine's lack? want %v", err, tc.unavailable)
			}
			home, err := cacheFolder()
			if err != nil {
				t.Fatal(err)
			}
			wantOnly(t, filepath.Dir(home), "lock")
		})
	}
}

// wantOnly fails unless the folder has exactly these entries.
func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, e := range entries {
		found[e.Name()] = true
	}
	for _, name := range names {
		if !found[name] {
			t.Errorf("%s has no %s", dir, name)
		}
		delete(found, name)
	}
	if len(found) > 0 {
		t.Errorf("%s has %v too", dir, found)
	}
}

func TestAvailable(t *testing.T) {
	oldJava := t.TempDir()
	script := "#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15'\n"
	if err := os.WriteFile(filepath.Join(oldJava, "java"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	newJava := t.TempDir()
	if err := os.WriteFile(filepath.Join(newJava, "java"), []byte(strings.Replace(script, "11.0.2", "21", 1)), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JAVA_HOME", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, tc := range []struct{ name, path, want string }{
		{"no java", t.TempDir(), "there is none"},
		{"old java", oldJava, `needs Java 17 or newer, and ` + oldJava + `/java is openjdk version "11.0.2"`},
		{"no maven", newJava, "no mvn in PATH"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("PATH", tc.path)
			err := Available()
			if !errors.Is(err, errUnavailable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
	t.Run("jars cached", func(t *testing.T) {
		t.Setenv("PATH", newJava)
		home, err := cacheFolder()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(home, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := Available(); err != nil {
			t.Error(err)
		}
	})
}

func TestRequireSkipsLoudly(t *testing.T) {
	if os.Getenv(asHelper) != "" {
		Require(t, Options{})
		t.Fatal("a cluster without Java")
	}
	for _, tc := range []struct {
		name, flag, noSkip, want string
		fails                    bool
	}{
		{"verbose", "-test.v", "", "SKIPPED: no Apache Kafka: ", false},
		{"quiet", "-test.v=false", "", "SKIPPED: no Apache Kafka: ", false},
		{"forbidden", "-test.v", "1", "FARCALL_NO_SKIP=1 forbids to skip", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := exec.CommandContext(deadline(t), os.Args[0], "-test.run=^TestRequireSkipsLoudly$", tc.flag)
			cmd.Env = append(os.Environ(), asHelper+"=1", "PATH="+t.TempDir(), "JAVA_HOME=", "FARCALL_NO_SKIP="+tc.noSkip)
			out, err := cmd.CombinedOutput()
			if failed := err != nil; failed != tc.fails {
				t.Errorf("failed: %v, want %v\n%s", err, tc.fails, out)
			}
			if n := strings.Count(string(out), tc.want); n != 1 {
				t.Errorf("%d lines with %q, want 1:\n%s", n, tc.want, out)
			}
		})
	}
}

func TestKcatAbsent(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if path, err := Kcat(); err == nil || !strings.Contains(err.Error(), "apt-get install kcat") {
		t.Errorf("got %q, %v, want an error that says how to install it", path, err)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20"
	for name, tc := range map[string]struct {
		stat  string
		start uint64
		ok    bool
	}{
		"plain":        {"42 (java)" + rest, 987654, true},
		"hostile name": {"42 (a) S 1 (b c))" + rest, 987654, true},
		"no name":      {"42 java" + rest, 0, false},
		"short":        {"42 (java) S 1 2", 0, false},
		"no number":    {"42 (java)" + strings.Replace(rest, "987654", "soon", 1), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			start, _, err := parseStat([]byte(tc.stat))
			if start != tc.start || (err == nil) != tc.ok {
				t.Errorf("got %d, %v", start, err)
			}
		})
	}
}

func TestEnd(t *testing.T) {
	// spawn runs a shell that says when it is ready and waits to be killed.
	spawn := func(t *testing.T, prepare string) (process, *child) {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd := exec.Command("sh", "-c", prepare+" echo; while :; do sleep 1; done")
		cmd.Stdout = w
		c, err := startChild(cmd, false)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		t.Cleanup(func() {
			c.signal(os.Kill)
			<-c.done
		})
		if _, err := r.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return mustIdentify(t, c.pid), c
	}
	t.Run("asked", func(t *testing.T) {
		p, _ := spawn(t, "")
		if killed, err := p.end(time.Minute); killed || err != nil || p.alive() {
			t.Errorf("killed %v, %v, alive %v", killed, err, p.alive())
		}
	})
	t.Run("killed", func(t *testing.T) {
		p, _ := spawn(t, "trap '' TERM;")
		if killed, err := p.end(50 * time.Millisecond); !killed || err != nil || p.alive() {
			t.Errorf("killed %v, %v, alive %v", killed, err, p.alive())
		}
	})
	t.Run("gone", func(t *testing.T) {
		p, c := spawn(t, "")
		c.signal(os.Kill)
		<-c.done
		if killed, err := p.end(time.Minute); killed || err != nil {
			t.Errorf("killed %v, %v", killed, err)
		}
	})
	for name, other := range map[string]func(*process){
		"another process got the id": func(p *process) { p.Start-- },
		"another boot":               func(p *process) { p.Boot = "another" },
	} {
		t.Run(name, func(t *testing.T) {
			p, c := spawn(t, "")
			recorded := p
			other(&recorded)
			if killed, err := recorded.end(0); killed || err != nil {
				t.Errorf("killed %v, %v", killed, err)
			}
			if !p.alive() || !c.running() {
				t.Error("it ended a process that is not its own")
			}
		})
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := FreePorts(6)
	if err != nil {
		t.Fatal(err)
	}
	from, to := portRange()
	seen := make(map[int]bool)
	for _, p := range ports {
		if seen[p] || p < from || p >= to {
			t.Errorf("port %d of %v: twice, or outside %d to %d", p, ports, from, to)
		}
		seen[p] = true
	}
	if len(ports) != 6 {
		t.Errorf("%d ports, want 6", len(ports))
	}
}

func TestFormatProperties(t *testing.T) {
	got := formatProperties(map[string]string{
		"log.dirs": `/tmp/sm\rg` + "å\U0001F600",
		"a key":    " leading=kept: #!",
	})
	want := "a\\ key=\\ leading=kept: #!\nlog.dirs=/tmp/sm\\\\rg\\u00e5\\ud83d\\ude00\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
