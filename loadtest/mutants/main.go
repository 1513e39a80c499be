// Command mutants takes farcall's defences out, one at a time, and runs the tests that should notice. A defence that can go
// without a test failing is not held by anything. It works on a copy of the tree and never touches the tree itself.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patches is where the mutants are kept, from the root of the module.
const patches = "loadtest/mutants/patches"

// mutant is one patch with its header: lines of "Name: value" before the diff.
type mutant struct {
	name    string // of the file, without .patch
	file    string
	defence string // what the patch takes out
	without string // what goes wrong then
	pkg     string // whose tests notice, ./folder from the root
	test    string // the test that is meant to
}

// readMutants reads the patches of a folder, by name.
func readMutants(dir string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var ms []mutant
	for _, f := range files {
		m, err := readMutant(f)
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return ms, nil
}

func readMutant(file string) (mutant, error) {
	m := mutant{name: strings.TrimSuffix(filepath.Base(file), ".patch"), file: file}
	b, err := os.ReadFile(file)
	if err != nil {
		return m, err
	}
	fields := map[string]*string{"Defence": &m.defence, "Without": &m.without, "Package": &m.pkg, "Test": &m.test}
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() && !strings.HasPrefix(s.Text(), "--- ") {
		name, value, _ := strings.Cut(s.Text(), ":")
		if field := fields[name]; field != nil {
			*field = strings.TrimSpace(value)
		}
	}
	for name, field := range fields {
		if *field == "" {
			return m, fmt.Errorf("%s: its header has no line \"%s: …\"", file, name)
		}
	}
	return m, nil
}

// copyTree copies what git knows or would add.
func copyTree(ctx context.Context, from, to string) error {
	list, err := command(ctx, from, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(list, "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) { // deleted, and not yet committed
			continue
		}
		if err != nil {
			return err
		}
		info, err := os.Stat(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), b, info.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// command runs a program in a folder and returns what it says. Git must not look for a repository around the copy: its paths
// would mean something else there.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), err
}

// apply takes a defence out of the tree in dir, or, with back, puts it in again. A patch that no longer fits is an error: it
// proves nothing until somebody mends it.
func apply(ctx context.Context, dir string, m mutant, args ...string) error {
	_, err := command(ctx, dir, "git", append(append([]string{"apply"}, args...), m.file)...)
	if err != nil {
		return fmt.Errorf("the patch does not fit the source any more: %w", err)
	}
	return nil
}

var (
	failed   = regexp.MustCompile(`(?m)^--- FAIL: (Test\w+)`)
	timedOut = regexp.MustCompile(`(?m)^\t\t(Test\w+)[/ ]`) // in the list of running tests of a binary whose time is up
)

// runner tests one tree.
type runner struct {
	dir     string
	timeout time.Duration
	took    map[string]time.Duration // the named tests of each package, with all defences in place
}

// soundTimeout is what the named tests of a package may take with all defences in place, on a machine however slow.
const soundTimeout = 15 * time.Minute

// limit is what the tests of a package may take without one of them: some times what they took with it.
func (r *runner) limit(pkg string) time.Duration { return max(r.timeout, 3*r.took[pkg]) }

// test compiles the tests of a package and runs those that the pattern names, for so long. It returns the names of those that fail, none if
// all pass. An error means that nothing was proved.
func (r *runner) test(ctx context.Context, pkg, pattern string, timeout time.Duration) ([]string, error) {
	binary := filepath.Join(r.dir, "mutant.test")
	if _, err := command(ctx, r.dir, "go", "test", "-c", "-o", binary, pkg); err != nil {
		return nil, fmt.Errorf("does not compile: %w", err)
	}
	// The binary ends itself at its time; what it leaves undone then is ended a little later.
	limit, cancel := context.WithTimeout(ctx, timeout+10*time.Second)
	defer cancel()
	out, err := command(limit, filepath.Join(r.dir, pkg), binary, "-test.run", pattern, "-test.failfast", "-test.timeout", timeout.String())
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil {
		if strings.Contains(out, "no tests to run") {
			return nil, fmt.Errorf("%s has no test that matches %s", pkg, pattern)
		}
		return nil, nil
	}
	var by []string
	for _, found := range append(failed.FindAllStringSubmatch(out, -1), timedOut.FindAllStringSubmatch(out, -1)...) {
		if !slices.Contains(by, found[1]) {
			by = append(by, found[1])
		}
	}
	if len(by) == 0 && limit.Err() == nil && !strings.Contains(out, "panic: ") && !strings.Contains(out, "fatal error: ") {
		return nil, fmt.Errorf("the tests of %s did not run: %w", pkg, err)
	}
	if len(by) == 0 {
		by = []string{"the end of the process"}
	}
	return by, nil
}

// verdict tries one mutant: the test that is meant to notice first, then all of its package. named says that the first was
// enough.
func (r *runner) verdict(ctx context.Context, m mutant) (by []string, named bool, err error) {
	if err := apply(ctx, r.dir, m); err != nil {
		return nil, false, err
	}
	defer func() {
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, apply(back, r.dir, m, "--reverse"))
	}()
	by, err = r.test(ctx, m.pkg, "^"+m.test+"$", r.limit(m.pkg))
	if err != nil || len(by) > 0 {
		return by, true, err
	}
	by, err = r.test(ctx, m.pkg, ".", 2*r.limit(m.pkg))
	return by, false, err
}

// sound holds that the named tests pass while all defences stand. Without it a test that fails anyhow would pass for one that
// notices.
func (r *runner) sound(ctx context.Context, ms []mutant) error {
	tests := map[string][]string{}
	for _, m := range ms {
		if !slices.Contains(tests[m.pkg], m.test) {
			tests[m.pkg] = append(tests[m.pkg], m.test)
		}
	}
	for pkg, names := range tests {
		began := time.Now()
		by, err := r.test(ctx, pkg, "^("+strings.Join(names, "|")+")$", soundTimeout)
		r.took[pkg] = time.Since(began)
		if err != nil {
			return err
		}
		if len(by) > 0 {
			return fmt.Errorf("%s: %s fails with all defences in place", pkg, strings.Join(by, ", "))
		}
	}
	return nil
}

func run(ctx context.Context, root, only string, timeout time.Duration, list bool) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	ms, err := readMutants(filepath.Join(root, patches))
	if err != nil {
		return err
	}
	ms = slices.DeleteFunc(ms, func(m mutant) bool { return !match.MatchString(m.name) })
	if len(ms) == 0 {
		return fmt.Errorf("no mutant matches %q", only)
	}
	if list {
		for _, m := range ms {
			fmt.Printf("%-28s %s\n%28s %s %s\n", m.name, m.defence, "", m.pkg, m.test)
		}
		return nil
	}
	dir, err := os.MkdirTemp("", "farcall-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(ctx, root, dir); err != nil {
		return err
	}
	r := &runner{dir: dir, timeout: timeout, took: map[string]time.Duration{}}
	began := time.Now()
	if err := r.sound(ctx, ms); err != nil {
		return err
	}
	fmt.Printf("%-10s %6.1fs  the named tests pass with all defences in place\n", "sound", time.Since(began).Seconds())
	var killed, survived, broken int
	for _, m := range ms {
		began := time.Now()
		by, named, err := r.verdict(ctx, m)
		took := time.Since(began).Seconds()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			broken++
			fmt.Printf("%-10s %6.1fs  %s: %v\n", "BROKEN", took, m.name, err)
		case len(by) == 0:
			survived++
			fmt.Printf("%-10s %6.1fs  %s: nothing in %s notices that this is gone: %s\n", "SURVIVED", took, m.name, m.pkg, m.defence)
		case !named:
			killed++
			fmt.Printf("%-10s %6.1fs  %s, by %s; its header names %s\n", "killed", took, m.name, strings.Join(by, ", "), m.test)
		default:
			killed++
			fmt.Printf("%-10s %6.1fs  %s, by %s\n", "killed", took, m.name, strings.Join(by, ", "))
		}
	}
	fmt.Printf("%d mutants: %d killed, %d survived, %d broken\n", len(ms), killed, survived, broken)
	if survived+broken > 0 {
		return fmt.Errorf("%d of %d mutants were not killed", survived+broken, len(ms))
	}
	return nil
}

func main() {
	only := flag.String("run", "", "only the mutants whose name matches this regular expression")
	timeout := flag.Duration("timeout", 2*time.Minute, "for the tests of one mutant at the least, and three times what they take without it; a mutant that makes them hang is killed by it")
	list := flag.Bool("list", false, "print the mutants and run none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := command(ctx, ".", "git", "rev-parse", "--show-toplevel")
	if err == nil {
		err = run(ctx, strings.TrimSpace(root), *only, *timeout, *list)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}
