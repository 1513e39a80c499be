package stream

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// take takes a slot and gives it back at once.
func take(t *testing.T, dir, name string) string {
	t.Helper()
	slot, lock, err := Slot(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	return slot
}

func TestSlotIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	first := take(t, dir, "")
	if !slotName.MatchString(first) {
		t.Errorf("slot %q", first)
	}
	if again := take(t, dir, ""); again != first {
		t.Errorf("slot %q, after a restart %q", first, again)
	}
	if named := take(t, dir, "farcall-2"); named != "farcall-2" {
		t.Errorf("slot %q in spite of its name", named)
	}
	if again := take(t, dir, ""); again != first {
		t.Errorf("a name took the place of the kept slot: %q, then %q", first, again)
	}
	if other := take(t, t.TempDir(), ""); other == first {
		t.Errorf("two folders have slot %q", other)
	}
}

func TestSlotIsTakenOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, lock, err := Slot(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = Slot(dir, "another")
	if err == nil {
		t.Fatal("two processes on one folder")
	}
	if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use by another farcall process") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the second process says: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	take(t, dir, "")
}

func TestSlotNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"a": true, "farcall-0.b_C": true, strings.Repeat("x", 64): true,
		"a b": false, "a/b": false, "ö": false, "a\n": false, strings.Repeat("x", 65): false,
	} {
		dir := t.TempDir()
		_, lock, err := Slot(dir, name)
		if (err == nil) != ok {
			t.Errorf("slot %q: %v", name, err)
		}
		if err != nil {
			take(t, dir, "") // the refusal gave the lock back
			continue
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSlotFileSpoilt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, content := range []string{"", "two words\n"} {
		if err := os.WriteFile(filepath.Join(dir, "slot"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Slot(dir, ""); err == nil || !strings.Contains(err.Error(), "slot") {
			t.Errorf("a slot file that holds %q: %v", content, err)
		}
	}
}
