package signing

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxFile bounds a file of the directory in bytes.
const maxFile = 64 << 10

// dir is the key directory. Everything goes through one handle, so that what was
// checked is what is read.
type dir struct {
	root *os.Root
	name string
}

// openDir opens an existing directory that nobody but its owner may enter.
func openDir(name string) (dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return dir{}, fmt.Errorf("opening key directory: %w", err)
	}
	d := dir{root, name}
	info, err := root.Stat(".")
	if err == nil {
		err = private(info)
	}
	if err != nil {
		return dir{}, errors.Join(fmt.Errorf("key directory %s: %w", name, err), root.Close())
	}
	return d, nil
}

func (d dir) close() error { return d.root.Close() }

// errShared refuses to start rather than mend the mode: whoever could read the keys
// so far may have done so, and only a human can judge that.
var errShared = errors.New("group or others have access to it; take it away (chmod go=) and consider the keys read")

func private(info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: mode %04o", errShared, info.Mode().Perm())
	}
	return nil
}

// readPrivate reads a file that nobody but its owner may read.
func (d dir) readPrivate(file string) ([]byte, error) { return d.read(file, private) }

// readPublic reads a file that has no secret in it.
func (d dir) readPublic(file string) ([]byte, error) {
	return d.read(file, func(fs.FileInfo) error { return nil })
}

func (d dir) read(file string, check func(fs.FileInfo) error) (data []byte, err error) {
	f, err := d.root.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: it is not made a second time, restore it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading key file %s of %s: %w", file, d.name, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			data, err = nil, fmt.Errorf("reading key file %s of %s: %w", file, d.name, err)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if err := check(info); err != nil {
		return nil, err
	}
	if data, err = io.ReadAll(io.LimitReader(f, maxFile+1)); err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	return data, nil
}

func (d dir) has(file string) (bool, error) {
	switch _, err := d.root.Lstat(file); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("looking for key file %s of %s: %w", file, d.name, err)
	}
}

// create makes a file with what content gives, unless it exists. Of several that
// try at once, one succeeds and the others find its file, never half of it: the
// bytes are on disk under another name before the name appears. A process that
// dies in between leaves a file behind that nothing reads.
func (d dir) create(file string, mode fs.FileMode, content func() ([]byte, error)) (err error) {
	if exists, err := d.has(file); exists || err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("making key file %s of %s: %w", file, d.name, err)
		}
	}()
	data, err := content()
	if err != nil {
		return err
	}
	suffix := make([]byte, 8)
	_, _ = rand.Read(suffix) // never fails (crypto/rand)
	temporary := ".new-" + hex.EncodeToString(suffix)
	if err := d.write(temporary, mode, data); err != nil {
		return errors.Join(err, ignoreAbsent(d.root.Remove(temporary)))
	}
	err = d.root.Link(temporary, file)
	if errors.Is(err, fs.ErrExist) {
		err = nil // another issuer was first
	}
	return errors.Join(err, d.root.Remove(temporary))
}

func (d dir) write(file string, mode fs.FileMode, data []byte) error {
	f, err := d.root.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// sync makes the names in the directory durable.
func (d dir) sync() error {
	f, err := d.root.Open(".")
	if err != nil {
		return fmt.Errorf("syncing key directory %s: %w", d.name, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing key directory %s: %w", d.name, err)
	}
	return nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
