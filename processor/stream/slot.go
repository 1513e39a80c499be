package stream

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/farcall/farcall/state"
)

// slotName keeps a slot usable in Kafka's ids and in file names.
var slotName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}$`)

// Slot locks a state folder and returns the identity of the place that a process takes in the installation: made once, kept
// in the folder, so that a restart takes the seat, and aborts the open transaction, of its predecessor at once. A name, such
// as a pod's ordinal, overrides it. Close the lock when the process ends.
func Slot(dir, name string) (slot string, lock io.Closer, err error) {
	held, err := state.Lock(vfs.Default, dir)
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, held.Close())
		}
	}()
	if name == "" {
		if name, err = keptSlot(filepath.Join(dir, "slot")); err != nil {
			return "", nil, err
		}
	}
	if !slotName.MatchString(name) {
		return "", nil, fmt.Errorf("slot %q: only letters, digits, dot, dash and underscore, 64 at most", name)
	}
	return name, held, nil
}

func keptSlot(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read slot: %w", err)
	}
	var id [6]byte
	rand.Read(id[:])
	name := hex.EncodeToString(id[:])
	if err := os.WriteFile(path, []byte(name+"\n"), 0o640); err != nil {
		return "", fmt.Errorf("keep slot: %w", err)
	}
	return name, nil
}
