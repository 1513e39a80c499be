package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/google/go-cmp/cmp"

	"github.com/farcall/farcall/processor/route"
)

var update = flag.Bool("update", false, "write deploy/CONFIG.md anew from the settings and their comments")

const referenceFile = "../../deploy/CONFIG.md"

// TestReference keeps deploy/CONFIG.md what the code says.
func TestReference(t *testing.T) {
	got := reference(t)
	if *update {
		if err := os.WriteFile(referenceFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("deploy/CONFIG.md is stale; write it with: go test ./processor/config -run TestReference -update\n%s", d)
	}
}

// TestReferenceNamesRealVariables: the reference and the library that reads the environment must agree.
func TestReferenceNamesRealVariables(t *testing.T) {
	c := Default()
	params, err := env.GetFieldParamsWithOptions(&c, env.Options{Prefix: envPrefix})
	if err != nil {
		t.Fatal(err)
	}
	text := reference(t)
	real := map[string]bool{}
	for _, p := range params {
		if p.Ignored {
			continue
		}
		real["`"+p.Key+"`"] = true
	}
	for _, word := range strings.Fields(text) {
		if strings.HasPrefix(word, "`FARCALL_") && !real[word] {
			t.Errorf("the reference names %s, which nothing reads", word)
		}
	}
	for name := range real {
		if strings.Count(text, " "+name+" ") != 1 {
			t.Errorf("the reference does not name %s once", name)
		}
	}
}

const referenceHead = `# Every setting

Settings come from three places, each over the one before: the defaults below, the file named with ` + "`--config`" + `, the environment. A
file has the sections below as YAML maps. ` + "`farcall config print`" + ` shows what is in force, ` + "`farcall config check`" + ` reports every
problem at once. Unknown keys are errors. Durations are written like ` + "`90s`, `5m` or `720h`" + `. Lists are comma-separated in the
environment; an empty variable is as good as none. [farcall.yaml](farcall.yaml) is an example.

This page is made of the comments in processor/config/config.go.
`

const referenceTail = `
A rule of ` + "`route.ignore`" + ` has a ` + "`name`" + ` and at least one condition; it drops the events that meet all of them. %s are matched
whole, case and all, with ` + "`*`" + ` for any run of characters; ` + "`network`" + ` is a CIDR.
`

// reference renders the page.
func reference(t *testing.T) string {
	t.Helper()
	comments := comments(t)
	c := Default()
	var b strings.Builder
	b.WriteString(referenceHead)
	section := "no section yet"
	for _, s := range settings(&c) {
		name := ""
		if i := strings.LastIndexByte(s.path, '.'); i > 0 {
			name = s.path[:i]
		}
		if name != section {
			section = name
			title := "## " + name
			if name == "" {
				title = "## Without a section"
			}
			fmt.Fprintf(&b, "\n%s\n\n| setting | variable | default | |\n|---|---|---|---|\n", title)
		}
		variable := "only in a file"
		if s.env != "" {
			variable = "`" + s.env + "`"
		}
		value := "`" + readable(s.value) + "`"
		if value == "``" || value == "`[]`" {
			value = "none"
		}
		if n, err := strconv.ParseInt(text(s.value), 10, 64); err == nil && strings.HasSuffix(s.path, "_bytes") {
			value += fmt.Sprintf(" (%d MiB)", n>>20)
		}
		comment := comments[s.owner+"."+s.field]
		if comment == "" || strings.ContainsAny(comment, "|\n") {
			t.Errorf("%s.%s needs a comment of one line, without a bar: it is the entry of %s in the reference", s.owner, s.field, s.path)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.path, variable, value, comment)
	}
	var texts []string
	rule := reflect.TypeFor[route.Rule]()
	for i := range rule.NumField() {
		name, _, _ := strings.Cut(rule.Field(i).Tag.Get("yaml"), ",")
		if name != "name" && name != "network" {
			texts = append(texts, "`"+name+"`")
		}
	}
	last := len(texts) - 1
	fmt.Fprintf(&b, referenceTail, strings.Join(texts[:last], ", ")+" and "+texts[last])
	return b.String()
}

// readable is text, but for durations: those go without what is zero.
func readable(v reflect.Value) string {
	s := text(v)
	if _, ok := v.Interface().(time.Duration); !ok {
		return s
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// comments maps Type.Field to what the source says of the field.
func comments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if fields, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range fields.Fields.List {
				for _, name := range f.Names {
					found[spec.Name.Name+"."+name.Name] = strings.TrimSpace(f.Doc.Text())
				}
			}
		}
		return false
	})
	return found
}
