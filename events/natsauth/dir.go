package natsauth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"github.com/revocast/revocast/events/topology"
)

// maxFile bounds what is read of a key or credentials file.
const maxFile = 64 << 10

// LoadOrCreate reads the authority kept in dir. If there is none it makes one: dir
// itself (0700) and one seed file a key (0600), in the form that NATS's own tools
// use. Several processes may start on one empty directory; the first to write a
// key wins. Whoever reads the directory may do anything at the broker.
//
// The operator's key is made last. Once it is there every other must be, and one
// that is missing is an error: an account made anew under an old name would be
// empty, and everything revoked out of reach.
func LoadOrCreate(dir string, o topology.Options) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making key directory: %w", err)
	}
	_, err := os.Lstat(filepath.Join(dir, keyFile(operatorKey)))
	complete := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading key directory: %w", err)
	}
	return assemble(o, func(name string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
		path := filepath.Join(dir, keyFile(name))
		file, err := readSecret(path)
		if errors.Is(err, fs.ErrNotExist) && !complete {
			if err := createSeed(path, kind); err != nil {
				return nil, fmt.Errorf("making key %s: %w", path, err)
			}
			file, err = readSecret(path)
		}
		if err != nil {
			return nil, fmt.Errorf("reading key %s: %w", path, err)
		}
		defer clear(file)
		pair, err := parseSeed(file, kind)
		if err != nil {
			return nil, fmt.Errorf("reading key %s: %w", path, err)
		}
		return pair, nil
	})
}

func keyFile(name string) string { return name + ".nk" }

// WriteCredentials puts a credentials file for every role into dir, named
// <role>.creds, mode 0600. A file that this authority made earlier is kept, so
// that what was given out stays what is there; any other is replaced.
func (a *Authority) WriteCredentials(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making credentials directory: %w", err)
	}
	for _, r := range topology.Roles() {
		if err := a.writeCredentials(r, filepath.Join(dir, r.String()+".creds")); err != nil {
			return err
		}
	}
	return nil
}

func (a *Authority) writeCredentials(r topology.Role, path string) error {
	old, err := readSecret(path)
	switch {
	case err == nil:
		defer clear(old)
		if ours, err := a.owns(r, old); err == nil && ours {
			return nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("reading credentials %s: %w", path, err)
	}
	file, err := a.Credentials(r)
	if err != nil {
		return err
	}
	defer clear(file)
	if err := writeSecret(path, file, os.Rename); err != nil {
		return fmt.Errorf("writing credentials %s: %w", path, err)
	}
	return nil
}

func createSeed(path string, kind nkeys.PrefixByte) error {
	pair, err := nkeys.CreatePair(kind)
	if err != nil {
		return err
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	defer clear(seed)
	// A link, unlike a rename, does not replace what another process made first.
	err = writeSecret(path, seed, func(from, to string) error {
		err := os.Link(from, to)
		return errors.Join(ignore(err, fs.ErrExist), os.Remove(from))
	})
	return err
}

// writeSecret writes a file beside path, syncs it and puts it in place.
func writeSecret(path string, content []byte, place func(from, to string) error) (err error) {
	// CreateTemp makes files with mode 0600.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignore(os.Remove(f.Name()), fs.ErrNotExist))
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = place(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readSecret reads a small file that nobody but its owner may read.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return nil, errors.New("not a small regular file")
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("mode %v lets others read or write it, want 0600", info.Mode().Perm())
	}
	return os.ReadFile(path) //nolint:gosec // the operator names the directory
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}
