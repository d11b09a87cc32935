package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"
)

// maxSecret bounds what is read of a file or of standard input in bytes.
const maxSecret = 256 << 10

// stdin names standard input where a file is expected.
const stdin = "-"

// readSecret reads a file, or standard input for "-", without the newline at its end.
func (t *terminal) readSecret(what, file string) (_ []byte, err error) {
	from := t.in
	if file != stdin {
		f, err := os.Open(file) //nolint:gosec // the caller names the file
		if err != nil {
			return nil, fmt.Errorf("reading the %s: %w", what, err)
		}
		defer func() { _ = f.Close() }() // opened for reading only
		from = f
	} else if f, ok := t.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		_, _ = fmt.Fprintf(t.err, "Paste the %s, then Enter and Ctrl-D:\n", what)
	}
	text, err := io.ReadAll(io.LimitReader(from, maxSecret+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the %s: %w", what, err)
	case len(text) > maxSecret:
		return nil, fmt.Errorf("reading the %s: larger than %d bytes", what, maxSecret)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) == 0 {
		return nil, fmt.Errorf("reading the %s: it is empty", what)
	}
	return text, nil
}

// readPassword takes the password from file if that is given, else from the variable
// REVOCAST_PASSWORD, else from a prompt on the terminal that does not echo.
func (t *terminal) readPassword(file string) (string, error) {
	if file != "" {
		text, err := t.readSecret("password", file)
		return string(text), err
	}
	if p := os.Getenv("REVOCAST_PASSWORD"); p != "" {
		return p, nil
	}
	f, ok := t.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", usage(errors.New("no terminal to ask for the password on; use --password-file or REVOCAST_PASSWORD"))
	}
	_, _ = fmt.Fprint(t.err, "Password: ")
	text, err := term.ReadPassword(int(f.Fd()))
	_, _ = fmt.Fprintln(t.err)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return string(text), nil
}

// deviceSecret reads the secret in the file, or makes one (256 bits, base64url) and
// the file, mode 0600, if there is none.
func (t *terminal) deviceSecret(file string) (string, error) {
	if _, err := os.Stat(file); file != stdin && errors.Is(err, fs.ErrNotExist) {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails (crypto/rand)
		text := base64.RawURLEncoding.EncodeToString(secret)
		p, err := openPending(file)
		if err != nil {
			return "", err
		}
		return text, p.commit([]byte(text + "\n"))
	}
	text, err := t.readSecret("device secret", file)
	return string(text), err
}

// pendingFile is a file on its way to replace another in one step. It is opened
// before anything happens that must not be lost, so that a full disk or a missing
// directory shows before and not after.
type pendingFile struct {
	target string
	f      *os.File
}

func openPending(target string) (*pendingFile, error) {
	// CreateTemp makes files with mode 0600.
	f, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return nil, fmt.Errorf("saving %s: %w", target, err)
	}
	return &pendingFile{target, f}, nil
}

// commit writes the content, syncs it and puts it in place.
func (p *pendingFile) commit(content []byte) error {
	_, err := p.f.Write(content)
	if err = errors.Join(err, p.f.Sync(), p.f.Close()); err == nil {
		err = os.Rename(p.f.Name(), p.target)
	}
	if err != nil {
		return fmt.Errorf("saving %s: %w", p.target, errors.Join(err, os.Remove(p.f.Name())))
	}
	return nil
}

// abandon leaves the target as it was.
func (p *pendingFile) abandon() {
	_ = errors.Join(p.f.Close(), os.Remove(p.f.Name())) // nothing is lost with it
}
