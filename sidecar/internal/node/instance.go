package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// takeOver leaves this run's instance in the data directory and gives the one that was
// left there; empty for none. The store is open, and one process alone can have it open:
// so whoever left it runs no more, and issuers need not miss it.
func takeOver(dir, instance string) (before string, err error) {
	path := filepath.Join(dir, "instance")
	content, err := os.ReadFile(path) //nolint:gosec // below the directory that the operator named
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the last instance: %w", err)
	}
	if u, err := uuid.ParseBytes(content); err == nil && u.String() == string(content) {
		before = string(content)
	}
	// Written anew and whole: what a full disk leaves of it is no instance.
	next := path + ".new"
	if err := os.WriteFile(next, []byte(instance), 0o600); err != nil {
		return before, fmt.Errorf("keeping the instance: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return before, fmt.Errorf("keeping the instance: %w", err)
	}
	return before, nil
}
