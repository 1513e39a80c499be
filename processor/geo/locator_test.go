package geo

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/phuslu/iploc"
)

func TestEmbedded(t *testing.T) {
	l := open(t, nil, Options{})
	k := l.NewLookup()
	for address, want := range map[string]Place{
		"81.2.69.142":         {Kind: Public, Name: "GB", Country: "GB"},
		"::ffff:81.2.69.142":  {Kind: Mapped, Name: "GB", Country: "GB"},
		"240e:4c:4008::1":     {Kind: Public, Name: "CN", Country: "CN"},
		"3.5.64.1":            {Kind: AWSOwned, Name: "aws:eu-west-1"},
		"10.0.0.1":            {Kind: Private},
		"2001:4860:4860::foo": {Kind: Malformed},
		"2d00::1":             {Kind: Public}, // nobody's yet: ZZ in the database
	} {
		for range 2 {
			if got := k.Locate(address); got != want {
				t.Errorf("%s is at %+v, want %+v", address, got, want)
			}
		}
	}
	if got, want := k.Build(), "iploc "+iploc.Version+", aws "+awsDate(t); got != want || l.Build() != want {
		t.Errorf("builds are %q and %q, want %q", got, l.Build(), want)
	}
}

// The version that the embedded database gives itself is the one of the module that the program is built with.
func TestEmbeddedVersionIsTheModules(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "github.com/phuslu/iploc " + iploc.Version; !strings.Contains(string(mod), want) {
		t.Errorf("go.mod does not require %q", want)
	}
}

// Every address of the table, cached or not, gets the kind that read gives it, unless AWS owns it.
func TestLocateKinds(t *testing.T) {
	k := open(t, nil, Options{CacheEntries: 1}).NewLookup()
	for range 2 {
		for _, c := range addresses {
			for range 2 {
				if got := k.Locate(c.address); got.Kind != c.kind || got.Name == "ZZ" || (got.Name != "" && c.located == "") {
					t.Errorf("%q is at %+v, want %s", c.address, got, c.kind)
				}
			}
		}
	}
}

func TestCacheKeepsNoBuffer(t *testing.T) {
	k := open(t, countryDB(t, "GB"), Options{CacheEntries: 1}).NewLookup()
	buf := []byte("81.2.69.142")
	address := unsafe.String(unsafe.SliceData(buf), len(buf))
	if got := k.Locate(address); got.Name != "GB" {
		t.Fatalf("%s is at %+v", address, got)
	}
	copy(buf, "10.1.1.1111")
	if got := k.Locate(address); got.Kind != Malformed {
		t.Errorf("%s is at %+v, as was the address before it in the buffer", address, got)
	}
	if got := k.Locate("81.2.69.142"); got.Name != "GB" {
		t.Errorf("81.2.69.142 is at %+v", got)
	}
}

func TestCacheSize(t *testing.T) {
	if size := unsafe.Sizeof(cached{}); size != 64 {
		t.Errorf("a cache entry has %d bytes, want 64", size)
	}
	for entries, want := range map[int]int{0: DefaultCacheEntries, 1: 1, 3: 4, 1000: 1024, 1024: 1024} {
		if k := open(t, countryDB(t, "GB"), Options{CacheEntries: entries}).NewLookup(); len(k.cache) != want {
			t.Errorf("asked for %d entries, got %d, want %d", entries, len(k.cache), want)
		}
	}
}

func TestLocateDoesNotAllocate(t *testing.T) {
	var texts []string
	for _, c := range addresses {
		texts = append(texts, c.address)
	}
	for i := range 1000 {
		texts = append(texts, fmt.Sprintf("81.%d.%d.1", i>>8, i&255), fmt.Sprintf("2a02:c7c:%x::1", i), fmt.Sprintf("2a02:%x::1::2", i))
	}
	for name, l := range map[string]*Locator{
		"embedded": open(t, nil, Options{CacheEntries: 64}), "mmdb": open(t, countryDB(t, "GB"), Options{CacheEntries: 64}),
	} {
		k := l.NewLookup()
		if n := testing.AllocsPerRun(10, func() {
			for _, text := range texts {
				k.Locate(text)
			}
		}); n != 0 {
			t.Errorf("%s: %.0f allocations for %d look-ups", name, n, len(texts))
		}
	}
}

func FuzzLocate(f *testing.F) {
	for _, c := range addresses {
		f.Add(c.address)
	}
	f.Add("3.5.64.1")
	f.Add("15.193.0.1, 2600:1f18::1")
	k := open(f, nil, Options{CacheEntries: 4}).NewLookup()
	f.Fuzz(func(t *testing.T, address string) {
		got := k.Locate(address)
		if again := k.Locate(address); again != got {
			t.Fatalf("%q is at %+v, and then at %+v", address, got, again)
		}
		if got.Kind >= kindCount {
			t.Fatalf("%q is of kind %d", address, got.Kind)
		}
		switch {
		case got.Name == "":
			if got.Country != "" {
				t.Fatalf("%q is in %s and nowhere", address, got.Country)
			}
		case got.Kind != Public && got.Kind != Mapped && got.Kind != AWSOwned && got.Kind != List:
			t.Fatalf("%q is %s and at %s", address, got.Kind, got.Name)
		case strings.HasPrefix(got.Name, "aws:"):
			if got.Country != "" || got.Kind != AWSOwned && got.Kind != List {
				t.Fatalf("%q is at %+v", address, got)
			}
		case got.Country != got.Name || CountryName(got.Country) == "":
			t.Fatalf("%q is at %+v", address, got)
		}
	})
}

// What real records have: every source address of the public sets is of a kind that was foreseen.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("FARCALL_CORPUS")
	if corpus == "" {
		t.Skip("FARCALL_CORPUS names no corpus: the source addresses of public records are NOT tested")
	}
	files, err := filepath.Glob(filepath.Join(corpus, "*.ndjson"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no records in %s: %v", corpus, err)
	}
	k := open(t, nil, Options{}).NewLookup()
	count := map[Kind]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			for _, rest := range strings.Split(lines.Text(), `"sourceIPAddress"`)[1:] {
				address, ok := strings.CutPrefix(strings.TrimLeft(rest, ": "), `"`)
				if !ok {
					continue
				}
				address, _, _ = strings.Cut(address, `"`)
				place := k.Locate(address)
				count[place.Kind]++
				if named := strings.HasSuffix(address, ".amazonaws.com"); named != (place.Kind == AWSService) {
					t.Errorf("%q is %s", address, place.Kind)
				}
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	t.Log(count)
	for _, kind := range []Kind{Public, AWSOwned, Reserved, AWSService, AWSInternal, Malformed} {
		if count[kind] == 0 {
			t.Errorf("no address is %s", kind)
		}
	}
}
