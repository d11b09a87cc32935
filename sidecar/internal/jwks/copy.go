package jwks

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// diskCopy is the last set that an issuer published, or what was announced of its
// keys, kept so that a verifier can start while neither can be reached. What is read
// back passes the same filter as what comes new.
type diskCopy struct{ path string }

// newDiskCopy names the file by a hash of whose it is, issuer and source, whose own
// characters are none of the file system's business.
func newDiskCopy(dir, whose, ending string) diskCopy {
	sum := sha256.Sum256([]byte(whose))
	return diskCopy{filepath.Join(dir, hex.EncodeToString(sum[:16])+ending)}
}

// load gives the text and when it was saved; "" without error if there is none.
func (c diskCopy) load() (string, time.Time, error) {
	info, err := os.Stat(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("reading saved key set: %w", err)
	}
	// Whoever can write here can add a key of their own.
	if info.Mode().Perm()&0o022 != 0 {
		return "", time.Time{}, fmt.Errorf("reading saved key set %s: mode %s lets others write it", c.path, info.Mode().Perm())
	}
	text, err := readFile(c.path)
	return text, info.ModTime(), err
}

// save replaces the file in one step, durable before it counts, readable by
// nobody else.
func (c diskCopy) save(text string) error {
	dir := filepath.Dir(c.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("saving key set: %w", err)
	}
	f, err := os.CreateTemp(dir, ".jwks-*") // mode 0600
	if err != nil {
		return fmt.Errorf("saving key set: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), c.path)
	}
	if err != nil {
		return fmt.Errorf("saving key set %s: %w", c.path, errors.Join(err, os.Remove(f.Name())))
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's data directory
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
