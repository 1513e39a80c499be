// Package lint holds the rules of the source that no compiler knows: which way imports point, what the stages may know, and
// what no file may contain. They are tests, so that they run wherever tests run. Each rule is shown to fail on source that
// breaks it. The package must never hold anything that a program uses.
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/farcall/farcall"

// tree is the source under review.
type tree struct{ files []*file }

// file is one text. Go files are parsed.
type file struct {
	path    string // from the root of the module, with slashes
	text    string
	syntax  *ast.File // nil if it isn't Go
	imports []string
	set     *token.FileSet
}

func (f *file) folder() string { return path.Dir(f.path) }
func (f *file) test() bool     { return strings.HasSuffix(f.path, "_test.go") }

func (f *file) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, f.set.Position(n.Pos()).Line)
}

// in says whether the file lies in one of the folders or below it.
func (f *file) in(folders ...string) bool {
	return slices.ContainsFunc(folders, func(d string) bool { return f.folder() == d || strings.HasPrefix(f.path, d+"/") })
}

func newFile(name, text string) (*file, error) {
	f := &file{path: name, text: text}
	if path.Ext(name) != ".go" {
		return f, nil
	}
	f.set = token.NewFileSet()
	var err error
	if f.syntax, err = parser.ParseFile(f.set, name, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		return nil, err
	}
	for _, i := range f.syntax.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, err
		}
		f.imports = append(f.imports, p)
	}
	return f, nil
}

// reviewed are the texts that people write: the rest is data.
var reviewed = regexp.MustCompile(`\.(go|s|md|ya?ml|xml|scenario|properties|mod|sh)$|(^|/)(Makefile|Dockerfile|NOTICE|run|\.[a-z]+ignore|\.gitattributes)$`)

// read reads the module from its root. Of hidden folders it reads .ci; bin holds what make builds, target what Maven builds, and
// testdata what tests made.
func read(root string) (*tree, error) {
	t := &tree{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && rel != "." && rel != ".ci"
			if hidden || rel == "bin" || d.Name() == "target" || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !reviewed.MatchString(rel) {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := newFile(rel, string(b))
		if err != nil {
			return err
		}
		t.files = append(t.files, f)
		return nil
	})
	return t, err
}

// rule finds what is wrong in a tree; each finding begins with the place.
type rule struct {
	name  string
	find  func(*tree) []string
	wrong []source // each must be found
	right []source // none may be found
}

// source is a tree of a few files, by path.
type source map[string]string

func (s source) tree(t *testing.T) *tree {
	t.Helper()
	tr := &tree{}
	for name, text := range s {
		f, err := newFile(name, text)
		if err != nil {
			t.Fatal(err)
		}
		tr.files = append(tr.files, f)
	}
	return tr
}

// stages are the packages that get records, a clock and a state handle, and know nothing else, so that a test drives them
// step by step.
var stages = []string{"processor/route", "processor/detect", "processor/triage"}

// eachGo calls find for every Go file and gathers what it returns.
func eachGo(t *tree, find func(f *file) []string) (found []string) {
	for _, f := range t.files {
		if f.syntax != nil {
			found = append(found, find(f)...)
		}
	}
	return found
}

// forbidden finds imports of any of the packages, given with their last "/…" for all below.
func forbidden(f *file, why string, packages ...string) (found []string) {
	for _, spec := range f.syntax.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		for _, bad := range packages {
			below, all := strings.CutSuffix(bad, "/...")
			if p == bad || all && (p == below || strings.HasPrefix(p, below+"/")) {
				found = append(found, fmt.Sprintf("%s imports %s: %s", f.at(spec), p, why))
			}
		}
	}
	return found
}

// calls finds uses of names of an imported package, whatever the file calls it.
func calls(f *file, pkg string, names ...string) (found []string) {
	local := ""
	for _, spec := range f.syntax.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p == pkg {
			local = path.Base(pkg)
			if spec.Name != nil {
				local = spec.Name.Name
			}
			if local == "." {
				found = append(found, fmt.Sprintf("%s imports %s with a dot: nobody sees where its names come from", f.at(spec), pkg))
			}
		}
	}
	if local == "" {
		return found
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == local && slices.Contains(names, s.Sel.Name) {
				found = append(found, fmt.Sprintf("%s uses %s.%s", f.at(n), pkg, s.Sel.Name))
			}
		}
		return true
	})
	return found
}

// mayImport says which top-level folders the packages of a top-level folder may import. Nothing imports deploy.
var mayImport = map[string][]string{
	"topics":    {"topics"},
	"state":     {"state", "topics"},
	"processor": {"processor", "state", "topics"},
	"loadtest":  {"loadtest", "topics"}, // and it starts the binary
	"deploy":    {"processor"},          // its tests ask what settings there are
}

// seededMemory may hash with a seed of its own: the hashes say only whether a presence was told before, and an intruder who knew the
// seed could choose names whose presences pass for somebody else's.
const seededMemory = "processor/route/told.go"

// ownMeasure says which files of loadtest may use which packages of the program, and why. What looks at farcall from outside must not
// share its code; what measures a part of it needs that part.
var ownMeasure = map[string]permission{
	"loadtest/bench/limit.go":               {[]string{"processor/cloudtrail"}, "the least that a correct consumer does: farcall's decoder in a bare consumer"},
	"loadtest/bench/poison.go":              {[]string{"processor/poison"}, "the bad records are those that the tests of route refuse"},
	"loadtest/bench/poison_test.go":         {[]string{"processor/geo", "processor/poison", "processor/route"}, "made of the generator's records, they are refused for the same reasons"},
	"loadtest/generate/generate_test.go":    {[]string{"processor/cloudtrail", "processor/geo"}, "what the generator says is in a record must be what farcall finds there"},
	"loadtest/generate/route_bench_test.go": {[]string{"processor/geo", "processor/route"}, "what route costs with the load that everything is measured with"},
}

type permission struct {
	packages []string
	why      string
}

// standardJSON says who may use encoding/json outside of tests, and why. On the path of an event it is several times slower
// than segmentio/encoding, and allocates (BenchmarkRatios in processor/cloudtrail), so nobody else may.
var standardJSON = map[string]string{
	"processor/console":              "answers of a few bytes, some times a minute",
	"processor/alert":                "an alert is rare, and its document may need what segmentio lacks",
	"processor/cloudtrail/refuse.go": "a refused record is rare, and only encoding/json says where a text breaks",
	"processor/geo/genaws":           "run by hand, before a release",
	"loadtest":                       "reads what the program wrote with a decoder that the program does not use",
}

var stub = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

var rules = []rule{
	{
		name: "imports point one way",
		find: func(t *tree) []string {
			return eachGo(t, func(f *file) (found []string) {
				from, _, _ := strings.Cut(f.path, "/")
				for _, p := range f.imports {
					below, ours := strings.CutPrefix(p, module+"/")
					if !ours {
						continue
					}
					if slices.Contains(ownMeasure[f.path].packages, below) {
						continue
					}
					if to, _, _ := strings.Cut(below, "/"); !slices.Contains(mayImport[from], to) {
						found = append(found, fmt.Sprintf("%s imports %s: imports point from processor to state to topics, and from loadtest to topics", f.path, p))
					}
				}
				return found
			})
		},
		wrong: []source{
			{"topics/a.go": `package topics; import "` + module + `/state"`},
			{"topics/a_test.go": `package topics; import "` + module + `/processor/config"`},
			{"state/a.go": `package state; import _ "` + module + `/processor/detect"`},
			{"state/a.go": `package state; import "` + module + `/loadtest/kafka"`},
			{"loadtest/kafka/a.go": `package kafka; import "` + module + `/state"`},
			{"loadtest/endtoend/a_test.go": `package endtoend; import "` + module + `/processor"`},
			{"loadtest/bench/limit.go": `package main; import "` + module + `/processor/geo"`},
			{"loadtest/bench/a.go": `package main; import "` + module + `/processor/cloudtrail"`},
			{"processor/stream/a.go": `package stream; import "` + module + `/loadtest/kafka"`},
			{"processor/stream/a.go": `package stream; import "` + module + `/deploy"`},
		},
		right: []source{
			{"topics/a.go": `package topics; import "os"`, "state/a.go": `package state; import "` + module + `/topics"`},
			{"processor/stream/a.go": `package stream; import ("` + module + `/topics"; "` + module + `/state"; "` + module + `/processor/geo")`},
			{"loadtest/endtoend/a_test.go": `package endtoend; import ("` + module + `/topics"; "` + module + `/loadtest/kafka")`},
			{"loadtest/bench/limit.go": `package main; import "` + module + `/processor/cloudtrail"`},
		},
	},
	{
		name: "stages know no Kafka, no disk, no network",
		find: func(t *tree) []string {
			return eachGo(t, func(f *file) []string {
				if f.test() || !f.in(stages...) {
					return nil
				}
				return forbidden(f, "a stage gets records, a clock and a state handle, and knows nothing else",
					"github.com/twmb/franz-go/...", "github.com/cockroachdb/pebble/...", "os", "os/...", "net", "net/http/...", "syscall", "io/ioutil")
			})
		},
		wrong: []source{
			{"processor/route/a.go": `package route; import "github.com/twmb/franz-go/pkg/kgo"`},
			{"processor/detect/a.go": `package detect; import x "github.com/twmb/franz-go/pkg/kadm"`},
			{"processor/detect/a.go": `package detect; import "github.com/cockroachdb/pebble/v2"`},
			{"processor/triage/a.go": `package triage; import "os"`},
			{"processor/triage/a.go": `package triage; import "net"`},
			{"processor/triage/deeper/a.go": `package deeper; import "net/http"`},
		},
		right: []source{
			{"processor/route/a.go": `package route; import ("net/netip"; "time")`},
			{"processor/route/a_test.go": `package route; import "os"`},
			{"processor/stream/a.go": `package stream; import ("os"; "github.com/twmb/franz-go/pkg/kgo")`},
		},
	},
	{
		name: "stages know no wall time",
		find: func(t *tree) []string {
			return eachGo(t, func(f *file) []string {
				if f.test() || !f.in(stages...) {
					return nil
				}
				return calls(f, "time", "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker")
			})
		},
		wrong: []source{
			{"processor/detect/a.go": `package detect; import "time"; var a = time.Now()`},
			{"processor/detect/a.go": `package detect; import "time"; var clock = time.Now`},
			{"processor/route/a.go": `package route; import clock "time"; func f() { clock.Sleep(1) }`},
			{"processor/route/a.go": `package route; import . "time"; var a = Now()`},
			{"processor/triage/a.go": `package triage; import "time"; func f(t time.Time) { time.Since(t) }`},
		},
		right: []source{
			{"processor/detect/a.go": `package detect; import "time"; func f(now func() time.Time) time.Time { return now().Add(time.Hour) }`},
			{"processor/detect/a_test.go": `package detect; import "time"; var a = time.Now()`},
			{"processor/stream/a.go": `package stream; import "time"; var a = time.Now()`},
			{"processor/route/a.go": `package route; var time struct{ Now func() int }; var a = time.Now()`},
		},
	},
	{
		name: "no randomness in what decides",
		find: func(t *tree) []string {
			return eachGo(t, func(f *file) []string {
				if f.test() || !f.in(append(stages, "processor/alert")...) {
					return nil
				}
				found := forbidden(f, "a replay must decide the same", "math/rand", "math/rand/...", "crypto/rand")
				if f.path != seededMemory {
					found = append(found, forbidden(f, "a replay must decide the same", "hash/maphash")...)
				}
				return found
			})
		},
		wrong: []source{
			{"processor/detect/a.go": `package detect; import "math/rand"`},
			{"processor/alert/a.go": `package alert; import r "math/rand/v2"`},
			{"processor/triage/a.go": `package triage; import "crypto/rand"`},
			{"processor/route/a.go": `package route; import "hash/maphash"`},
		},
		right: []source{
			{"processor/detect/a_test.go": `package detect; import "math/rand/v2"`},
			{"processor/route/told.go": `package route; import "hash/maphash"`},
			{"processor/demo/a.go": `package demo; import "math/rand/v2"`},
		},
	},
	{
		name: "encoding/json only where speed does not count",
		find: func(t *tree) []string {
			return eachGo(t, func(f *file) []string {
				if f.test() {
					return nil
				}
				for place := range standardJSON {
					if f.path == place || f.in(place) {
						return nil
					}
				}
				return forbidden(f, "use github.com/segmentio/encoding/json, or say in standardJSON why not", "encoding/json")
			})
		},
		wrong: []source{
			{"processor/cloudtrail/a.go": `package cloudtrail; import "encoding/json"`},
			{"processor/geo/a.go": `package geo; import std "encoding/json"`},
			{"topics/a.go": `package topics; import "encoding/json"`},
		},
		right: []source{
			{"processor/cloudtrail/a_test.go": `package cloudtrail; import "encoding/json"`},
			{"processor/cloudtrail/refuse.go": `package cloudtrail; import "encoding/json"`},
			{"processor/console/a.go": `package console; import "encoding/json"`},
			{"processor/cloudtrail/a.go": `package cloudtrail; import "github.com/segmentio/encoding/json"`},
		},
	},
	{
		name: "a room is named by what is in it",
		find: func(t *tree) []string {
			return eachGo(t, func(f *file) []string {
				for _, word := range append(strings.Split(f.folder(), "/"), strings.TrimSuffix(f.syntax.Name.Name, "_test")) {
					if slices.Contains([]string{"util", "utils", "common", "commons", "helper", "helpers", "misc", "shared", "base", "lib"}, strings.ToLower(word)) {
						return []string{fmt.Sprintf("%s: %q says nothing of what is in there", f.path, word)}
					}
				}
				return nil
			})
		},
		wrong: []source{
			{"processor/util/a.go": `package util`},
			{"processor/geo/a.go": `package common`},
			{"topics/helpers/deeper/a.go": `package deeper`},
			{"state/a_test.go": `package helpers_test`},
		},
		right: []source{{"processor/geo/a.go": `package geo`, "state/utility.go": `package state`}},
	},
	{
		name: "no folder beyond the agreed at the top",
		find: func(t *tree) (found []string) {
			for _, f := range t.files {
				top, _, nested := strings.Cut(f.path, "/")
				if nested && !slices.Contains([]string{"processor", "state", "topics", "deploy", "loadtest", ".ci"}, top) {
					found = append(found, f.path+": nobody will look for anything there")
				}
			}
			return found
		},
		wrong: []source{{"pkg/geo/a.go": `package geo`}, {"docs/a.md": "text"}},
		right: []source{{"processor/geo/a.go": `package geo`, "state/a.go": `package state`, "topics/a.go": `package topics`, "deploy/a.md": "", "loadtest/a.md": "", "README.md": ""}},
	},
	{
		name: "tests wait for conditions",
		find: func(t *tree) []string {
			return eachGo(t, func(f *file) []string {
				if !f.test() {
					return nil
				}
				return calls(f, "time", "Sleep")
			})
		},
		wrong: []source{
			{"state/a_test.go": `package state; import "time"; func f() { time.Sleep(time.Second) }`},
			{"state/a_test.go": `package state_test; import t "time"; var wait = t.Sleep`},
		},
		right: []source{
			{"state/a_test.go": `package state; import "time"; var a = time.After(time.Second)`},
			{"state/a.go": `package state; import "time"; func f() { time.Sleep(time.Second) }`},
		},
	},
	{
		name: "every package says what it is for",
		find: func(t *tree) (found []string) {
			said, packages := map[string]bool{}, map[string]bool{}
			for _, f := range t.files {
				// The tests of a package from outside have nothing to say of their own.
				if f.syntax == nil || strings.HasSuffix(f.syntax.Name.Name, "_test") {
					continue
				}
				packages[f.folder()] = true
				opening := "Package " + f.syntax.Name.Name + " "
				if f.syntax.Name.Name == "main" {
					opening = "Command " + path.Base(f.folder()) + " "
				}
				if strings.HasPrefix(f.syntax.Doc.Text(), opening) {
					said[f.folder()] = true
				}
			}
			for p := range packages {
				if !said[p] {
					found = append(found, p+": no comment before the package clause that begins with \"Package name\" or \"Command folder\"")
				}
			}
			return found
		},
		wrong: []source{
			{"state/a.go": "package state"},
			{"state/a.go": "// A licence.\n\npackage state"},
			{"state/a.go": "// Things.\npackage state", "state/b.go": "package state"},
			{"processor/cmd/farcall/main.go": "// Package main runs.\npackage main"},
			{"deploy/a_test.go": "package deploy"},
		},
		right: []source{
			{"state/a.go": "package state", "state/b.go": "// Package state holds rows.\npackage state", "state/a_test.go": "package state_test"},
			{"processor/cmd/farcall/main.go": "// Command farcall finds.\npackage main"},
			{"deploy/a_test.go": "// Package deploy holds files.\npackage deploy"},
		},
	},
	{
		name: "nothing is unfinished",
		find: func(t *tree) (found []string) {
			for _, f := range t.files {
				for i, line := range strings.Split(f.text, "\n") {
					if word := stub.FindString(line); word != "" {
						found = append(found, fmt.Sprintf("%s:%d says %s", f.path, i+1, word))
					}
				}
			}
			return found
		},
		wrong: []source{
			{"state/a.go": "package state // TO" + "DO: more"},
			{"deploy/compose.yaml": "# FIX" + "ME\n"},
			{"state/a.go": "package state; import \"context\"; var a = context.TO" + "DO()"},
		},
		right: []source{{"state/a.go": "package state\nvar TODOS, fixmes int", "README.md": "What to do."}},
	},
}

func TestSource(t *testing.T) {
	tr, err := read("../..")
	if err != nil {
		t.Fatal(err)
	}
	// A look at the wrong folder would find nothing wrong.
	for _, want := range []string{"processor/lint/lint_test.go", "processor/detect/score.go", "topics/topics.go", "state/store.go", "loadtest/kafka/kafka.go", "README.md", ".ci/run"} {
		if !slices.ContainsFunc(tr.files, func(f *file) bool { return f.path == want }) {
			t.Errorf("%s was not read", want)
		}
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, found := range r.find(tr) {
				t.Error(found)
			}
		})
	}
}

// TestRules shows each rule source that breaks it and source that only looks like that.
func TestRules(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			if len(r.wrong) == 0 || len(r.right) == 0 {
				t.Fatal("nothing shows that this rule can fail, or pass")
			}
			for _, s := range r.wrong {
				if len(r.find(s.tree(t))) == 0 {
					t.Errorf("nothing wrong was found in %v", s)
				}
			}
			for _, s := range r.right {
				for _, found := range r.find(s.tree(t)) {
					t.Errorf("wrongly found: %s", found)
				}
			}
		})
	}
}

// TestRead: what is made, hidden or data is not source.
func TestRead(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"processor/a/a.go": "package a", "processor/a/testdata/b.go": "no Go", "bin/farcall.go": "no Go", ".git/c.go": "no Go",
		".ci/run": "make test", "Makefile": "test:", "deploy/Dockerfile": "FROM scratch", "processor/a/data.bin": "\x00", "bin/x.md": "x",
	} {
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range tr.files {
		got = append(got, f.path)
	}
	slices.Sort(got)
	if want := []string{".ci/run", "Makefile", "deploy/Dockerfile", "processor/a/a.go"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	if err := os.WriteFile(filepath.Join(root, "processor", "a", "broken.go"), []byte("package"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := read(root); err == nil {
		t.Error("a file that is no Go was read")
	}
}

// TestEveryPermissionIsUsed: a permission that nobody needs is a hole. The documents of alerts are encoded by segmentio today,
// and may be by the standard library tomorrow.
func TestEveryPermissionIsUsed(t *testing.T) {
	tr, err := read("../..")
	if err != nil {
		t.Fatal(err)
	}
	for place, why := range standardJSON {
		used := slices.ContainsFunc(tr.files, func(f *file) bool {
			return !f.test() && (f.path == place || f.in(place)) && slices.Contains(f.imports, "encoding/json")
		})
		if !used && place != "processor/alert" {
			t.Errorf("nobody in %s needs encoding/json (%s): take the permission back", place, why)
		}
	}
	for place, p := range ownMeasure {
		for _, pkg := range p.packages {
			if !slices.ContainsFunc(tr.files, func(f *file) bool { return f.path == place && slices.Contains(f.imports, module+"/"+pkg) }) {
				t.Errorf("%s does not need %s (%s): take the permission back", place, pkg, p.why)
			}
		}
	}
}
