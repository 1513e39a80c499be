package kafka

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed pom.xml
var pom []byte

//go:embed log4j2.properties
var log4jProperties string

const (
	minJava = 17 // what the brokers of Kafka 4 need
	// fetchLimit bounds fetching 44 MB of jars and making the class archive, where the caller's context sets none.
	fetchLimit = 5 * time.Minute
	// trainStopLimit bounds the end of the run that makes the class archive; writing it takes 4 s.
	trainStopLimit = 2 * time.Minute
)

// errUnavailable is in the error of a start for which this machine lacks something that is not the project's.
var errUnavailable = errors.New("can't run Apache Kafka " + Version + " here")

// distribution is what runs a broker.
type distribution struct {
	java      string
	classpath string
	// archive holds Kafka's classes parsed and verified, which saves half of the start-up time. It is empty if this Java
	// can't make one. Java itself checks that the archive fits it and the jars, and goes without where it doesn't.
	archive string
}

// Available says, in one sentence, why Apache Kafka can't be run on this machine, or nil. It needs Linux, a Java of
// version 17 or newer (JAVA_HOME, or java in PATH), and the jars in the user's cache folder or Maven (mvn in PATH) to
// fetch them, 44 MB, at the first [Start].
func Available() error {
	_, err := survey(context.Background())
	return err
}

// machine is what a survey found.
type machine struct {
	java        string // path
	javaVersion string // all that it says of itself
	home        string // the folder of the jars, which may not exist yet
}

// survey is Available, with what it found.
func survey(ctx context.Context) (machine, error) {
	if runtime.GOOS != "linux" {
		return machine{}, fmt.Errorf("%w: the helper knows only Linux, and this is %s", errUnavailable, runtime.GOOS)
	}
	java, javaVersion, err := findJava(ctx)
	if err != nil {
		return machine{}, err
	}
	home, err := cacheFolder()
	if err != nil {
		return machine{}, err
	}
	if !exists(home) {
		if _, err := exec.LookPath("mvn"); err != nil {
			return machine{}, fmt.Errorf("%w: its jars are not in %s, and there is no mvn in PATH to fetch them (Debian package maven)",
				errUnavailable, home)
		}
	}
	return machine{java, javaVersion, home}, nil
}

// prepare finds Java, and fetches the jars and makes the class archive if they are not in the cache. Only one of
// several callers, on one machine, does the work.
func prepare(ctx context.Context) (distribution, error) {
	m, err := survey(ctx)
	if err != nil {
		return distribution{}, fmt.Errorf("kafka: %w", err)
	}
	home := m.home
	archive := filepath.Join(home, "classes-"+digest(m.java, m.javaVersion)+".jsa")
	noArchive := archive + ".failed"

	if !exists(archive) && !exists(noArchive) {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, fetchLimit)
			defer cancel()
		}
		if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
			return distribution{}, fmt.Errorf("kafka: %w", err)
		}
		unlock, err := lockFile(ctx, filepath.Join(filepath.Dir(home), "lock"))
		if err != nil {
			return distribution{}, err
		}
		defer unlock()
	}
	if !exists(home) {
		if err := fetch(ctx, home); err != nil {
			return distribution{}, err
		}
	}
	d := distribution{java: m.java}
	if d.classpath, err = classpath(home); err != nil {
		return distribution{}, err
	}
	if !exists(archive) && !exists(noArchive) {
		if err := d.train(ctx, archive); err != nil {
			if ctx.Err() != nil {
				return distribution{}, err
			}
			// Without the archive all works, but slower. The reason stays where a reader looks for the archive, and is
			// not found out anew at every start: removing that file has it tried again.
			if err := writeFile(noArchive, err.Error()+"\n"); err != nil {
				return distribution{}, err
			}
		}
	}
	if exists(archive) {
		d.archive = archive
	}
	return d, nil
}

// cacheFolder is where the jars of exactly this pom.xml are. The folder appears in one step and never changes, but for
// class archives that are added.
func cacheFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w: there is no folder for its jars: %w", errUnavailable, err)
	}
	return filepath.Join(cache, "farcall", "kafka-"+Version, digest(string(pom))), nil
}

// fetch has Maven copy the jars into a folder beside home, and renames it when it is whole. The caller holds the lock.
func fetch(ctx context.Context, home string) error {
	tmp, err := cleanTemp(home, ".fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), pom, 0o644); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	// -C: a jar whose checksum is wrong is an error, not a warning.
	cmd := exec.Command("mvn", "-q", "-B", "-C", "dependency:copy-dependencies")
	cmd.Dir = tmp
	if out, err := run(ctx, cmd); err != nil {
		return fmt.Errorf("kafka: %w: mvn could not fetch its jars: %w\n%s", errUnavailable, err, tail(out))
	}
	if main := filepath.Join(tmp, "jars", "kafka_2.13-"+Version+".jar"); !exists(main) {
		return fmt.Errorf("kafka: mvn ended well and made no %s", main)
	}
	if err := os.Rename(filepath.Join(tmp, "jars"), home); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// train runs a broker once, from format to stop, with a Java that writes down the classes it loaded. The caller holds
// the lock.
func (d distribution) train(ctx context.Context, archive string) error {
	tmp, err := cleanTemp(filepath.Dir(archive), ".train-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	made := filepath.Join(tmp, "classes.jsa")
	c, err := launch(ctx, d, Options{
		Dir:       filepath.Join(tmp, "cluster"),
		FastStart: true,
		JavaOpts:  []string{defaultHeap, "-XX:ArchiveClassesAtExit=" + made},
	}, 0, false)
	if err != nil {
		return err
	}
	if err := c.stop(trainStopLimit); err != nil {
		return err
	}
	if err := os.Rename(made, archive); err != nil {
		return fmt.Errorf("kafka: Java wrote no class archive: %w", err)
	}
	return nil
}

// cleanTemp makes a folder beside home, on the same file system, after removing those that a killed predecessor left.
func cleanTemp(home, prefix string) (string, error) {
	stale, err := filepath.Glob(filepath.Join(filepath.Dir(home), prefix+"*"))
	if err != nil {
		return "", fmt.Errorf("kafka: %w", err)
	}
	for _, dir := range stale {
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("kafka: %w", err)
		}
	}
	tmp, err := os.MkdirTemp(filepath.Dir(home), prefix)
	if err != nil {
		return "", fmt.Errorf("kafka: %w", err)
	}
	return tmp, nil
}

// classpath lists the jars in the order of their names: Java takes a class archive only with the very classpath it was
// made with, and the order of a folder is nobody's promise.
func classpath(home string) (string, error) {
	jars, err := filepath.Glob(filepath.Join(home, "*.jar"))
	if err != nil {
		return "", fmt.Errorf("kafka: %w", err)
	}
	if len(jars) == 0 {
		return "", fmt.Errorf("kafka: no jars in %s: remove that folder, and they are fetched again", home)
	}
	slices.Sort(jars)
	return strings.Join(jars, string(filepath.ListSeparator)), nil
}

var javaVersionRE = regexp.MustCompile(`version "(?:1\.)?(\d+)`)

// findJava gives the path of the Java to use, and all that it says about its version.
func findJava(ctx context.Context) (path, version string, err error) {
	path = "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		path = filepath.Join(home, "bin", "java")
	}
	if path, err = exec.LookPath(path); err != nil {
		return "", "", fmt.Errorf("%w: it needs Java %d or newer, and there is none in JAVA_HOME or PATH (Debian package default-jre-headless)",
			errUnavailable, minJava)
	}
	out, err := run(ctx, exec.Command(path, "-version"))
	if err != nil {
		return "", "", fmt.Errorf("%w: %s -version: %w: %s", errUnavailable, path, err, bytes.TrimSpace(out))
	}
	if m := javaVersionRE.FindSubmatch(out); m != nil {
		if major, err := strconv.Atoi(string(m[1])); err == nil && major >= minJava {
			return path, string(out), nil
		}
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return "", "", fmt.Errorf("%w: it needs Java %d or newer, and %s is %s", errUnavailable, minJava, path, first)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// digest is a short name for some content.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:4])
}
