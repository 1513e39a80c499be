package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const root = "../.."

// TestPatchesFit keeps the mutants from rotting between two runs of all of them: each patch fits the source as it is, and the
// test that it names is there.
func TestPatchesFit(t *testing.T) {
	t.Parallel()
	ms, err := readMutants(filepath.Join(root, patches))
	if err != nil {
		t.Fatal(err)
	}
	if len(ms) < 20 {
		t.Errorf("%d mutants, want 20 at the least", len(ms))
	}
	for _, m := range ms {
		file, err := filepath.Abs(m.file)
		if err != nil {
			t.Fatal(err)
		}
		m.file = file
		if err := apply(t.Context(), root, m, "--check"); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		tests, err := filepath.Glob(filepath.Join(root, m.pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range tests {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			found = found || regexp.MustCompile(`(?m)^func `+m.test+`\(t `).Match(b)
		}
		if !found {
			t.Errorf("%s: %s has no %s", m.name, m.pkg, m.test)
		}
	}
}

// TestPage holds the page that tells what each defence is for to the tests and mutants that there are.
func TestPage(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(root, "processor/stream/EXACTLY-ONCE.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	ms, err := readMutants(filepath.Join(root, patches))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range ms {
		known[m.name] = true
		if !strings.Contains(page, "`"+m.name+"`") {
			t.Errorf("the page does not name the mutant %s", m.name)
		}
	}
	for _, line := range regexp.MustCompile(`mutants? ([^.]*)\.`).FindAllStringSubmatch(page, -1) {
		for _, name := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(line[1], -1) {
			if !known[name[1]] {
				t.Errorf("the page names the mutant %s, which is not there", name[1])
			}
		}
	}
	var tests strings.Builder
	for _, pkg := range []string{"processor/stream", "processor/config", "processor/triage", "state", "topics"} {
		files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(b)
		}
	}
	for _, name := range regexp.MustCompile(`Test[A-Z]\w+`).FindAllString(page, -1) {
		if !strings.Contains(tests.String(), "func "+name+"(t ") {
			t.Errorf("the page names %s, which is not there", name)
		}
	}
}

// tree is a module with one defence, kept in git, and with mutants of it.
func tree(t *testing.T, mutants map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/door\n\ngo 1.26\n")
	write("door/door.go", "package door\n\nfunc Open(key int) bool {\n\tif key < 0 {\n\t\tpanic(key)\n\t}\n\treturn key == 7\n}\n\n// Bell is held by no test.\nfunc Bell() int { return 1 }\n")
	write("door/door_test.go", "package door\n\nimport \"testing\"\n\nfunc TestKey(t *testing.T) {\n\tif Open(6) || !Open(7) {\n\t\tt.Error(\"the door\")\n\t}\n}\n\nfunc TestOther(t *testing.T) {}\n")
	for name, content := range mutants {
		write(filepath.Join(patches, name+".patch"), content)
	}
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// patch replaces the line with the lock, line 7 of the door.
func patch(test, before string, after ...string) string {
	return fmt.Sprintf("Defence: a lock\nWithout: thieves\nPackage: ./door\nTest: %s\n\n--- a/door/door.go\n+++ b/door/door.go\n@@ -6,3 +6,%d @@\n \t}\n-%s\n+%s\n }\n",
		test, 2+len(after), before, strings.Join(after, "\n+"))
}

// TestRun shows the runner mutants of every kind: it must not pass one that lives, nor one that proves nothing.
func TestRun(t *testing.T) {
	t.Parallel()
	const key = "\treturn key == 7"
	for name, c := range map[string]struct {
		patch string
		want  string // of the error, "" for none
	}{
		"killed":                 {patch("TestKey", key, "\treturn true"), ""},
		"killed by another test": {patch("TestOther", key, "\treturn true"), ""},
		"killed by its end":      {patch("TestKey", key, "\tfor key != 8 {", "\t}", "\treturn true"), ""},
		"survives":               {patch("TestKey", key, "\treturn 7 == key"), "1 of 1 mutants were not killed"},
		"does not compile":       {patch("TestKey", key, "\treturn key"), "1 of 1 mutants were not killed"},
		"does not fit":           {patch("TestKey", "\treturn key == 8", "\treturn true"), "1 of 1 mutants were not killed"},
		"names no test that is":  {patch("TestBell", key, "\treturn true"), "has no test that matches"},
		"names no test at all":   {strings.Replace(patch("TestKey", key, "\treturn true"), "Test: TestKey\n", "", 1), `no line "Test: …"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, map[string]string{"lock": c.patch})
			err := run(t.Context(), dir, "", 5*time.Second, false)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			b, err := os.ReadFile(filepath.Join(dir, "door/door.go"))
			if err != nil || !strings.Contains(string(b), key+"\n") {
				t.Errorf("the tree itself was changed: %v\n%s", err, b)
			}
		})
	}
}

// TestSoundFirst: a test that fails in any case notices nothing.
func TestSoundFirst(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"lock": patch("TestKey", "\treturn key == 7", "\treturn true")})
	if err := os.WriteFile(filepath.Join(dir, "door/broken_test.go"), []byte("package door\n\nimport \"os\"\n\nfunc init() { os.Exit(1) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), dir, "", 5*time.Second, false); err == nil || strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
	if err := run(t.Context(), dir, "nothing", 5*time.Second, false); err == nil || !strings.Contains(err.Error(), "no mutant matches") {
		t.Errorf("got %v", err)
	}
}
