package badgerstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Copy copies the store in one directory to another, for whoever wants to look at it:
// to open a store is to write to it. It is [ErrInUse] if a process has it open.
func Copy(dir, into string) error {
	if err := copyStore(dir, into); err != nil {
		return fmt.Errorf("copying denylist %s: %w", dir, err)
	}
	return nil
}

func copyStore(dir, into string) (err error) {
	numbers, err := generations(dir)
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		return fs.ErrNotExist // and no lock is left in what is no store
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if numbers, err = generations(dir); err != nil { // since nobody makes another
		return err
	}
	from, to := generationDir(dir, numbers[len(numbers)-1]), generationDir(into, 0)
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if f.Type().IsRegular() {
			if err := copyFile(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from) // #nosec G304 -- in our own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed before the lock was taken
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()                                     // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- in the caller's directory
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
