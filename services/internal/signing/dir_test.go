package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The same at the point where it is decided, often and cheaply.
func TestConcurrentCreate(t *testing.T) {
	name := t.TempDir()
	if err := os.Chmod(name, 0o700); err != nil {
		t.Fatal(err)
	}
	for round := range 50 {
		file := fmt.Sprintf("f%d", round)
		seen := make([]string, 8)
		var wg sync.WaitGroup
		for i := range seen {
			wg.Go(func() {
				d, err := openDir(name)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = d.close() }()
				mine := bytes.Repeat([]byte{byte('a' + i)}, 1000)
				if err := d.create(file, 0o600, func() ([]byte, error) { return mine, nil }); err != nil {
					t.Error(err)
				}
				got, err := d.readPrivate(file)
				if err != nil {
					t.Error(err)
				}
				seen[i] = string(got)
			})
		}
		wg.Wait()
		if slices.ContainsFunc(seen, func(s string) bool { return s != seen[0] || len(s) != 1000 }) {
			t.Fatal("two of them read different files, or half a file")
		}
	}
	if entries, err := os.ReadDir(name); err != nil || len(entries) != 50 {
		t.Errorf("%d files left, %v", len(entries), err)
	}
}

func TestSharedKeysAreRefused(t *testing.T) {
	for _, name := range []string{".", fileES256, fileRS256, fileRefresh, fileSubject, fileRoot, fileVersion} {
		for _, bit := range []fs.FileMode{0o040, 0o020, 0o010, 0o004, 0o002, 0o001} {
			t.Run(fmt.Sprintf("%s %04o", name, bit), func(t *testing.T) {
				dir := filled(t)
				base := fs.FileMode(0o600)
				if name == "." {
					base = 0o700
				}
				if err := os.Chmod(filepath.Join(dir, name), base|bit); err != nil {
					t.Fatal(err)
				}
				if k, err := Open(config(dir)); !errors.Is(err, errShared) || k != nil || !strings.Contains(err.Error(), dir) {
					t.Errorf("opened: %v", err)
				}
			})
		}
	}
	dir := filled(t)
	if err := os.Chmod(filepath.Join(dir, fileRootPub), 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, config(dir))
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestDamagedFilesAreRefused(t *testing.T) {
	files, err := template()
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(files[fileES256])
	secretText := strings.TrimSpace(string(files[fileSubject]))
	for name, c := range map[string]struct {
		file string
		data []byte
	}{
		"empty key":               {fileES256, nil},
		"not PEM":                 {fileES256, block.Bytes},
		"cut off":                 {fileES256, files[fileES256][:100]},
		"two keys":                {fileES256, slices.Concat(files[fileES256], files[fileES256])},
		"text behind":             {fileES256, slices.Concat(files[fileES256], []byte("x"))},
		"headers":                 {fileES256, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Headers: map[string]string{"a": "b"}, Bytes: block.Bytes})},
		"a certificate":           {fileES256, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})},
		"another encoding":        {fileES256, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: sec1})},
		"another curve":           {fileES256, pkcs8(t, p384)},
		"RSA for ES256":           {fileES256, files[fileRS256]},
		"ES256 for RSA":           {fileRS256, files[fileES256]},
		"a weak RSA key":          {fileRS256, pkcs8(t, weak)},
		"the root signs tokens":   {fileES256, files[fileRoot]},
		"a signing key as root":   {fileRoot, files[fileES256]},
		"another root":            {fileRoot, mustNew(t, newRoot)},
		"another public root":     {fileRootPub, []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")},
		"short subject secret":    {fileSubject, []byte(secretText[:20])},
		"subject secret, padded":  {fileSubject, []byte(secretText + "=")},
		"no subject secret":       {fileSubject, nil},
		"another layout":          {fileVersion, []byte("2\n")},
		"no layout":               {fileVersion, nil},
		"refresh keys, no JSON":   {fileRefresh, []byte(secretText)},
		"an endless file":         {fileSubject, bytes.Repeat([]byte("A"), maxFile+1)},
		"an endless version file": {fileVersion, bytes.Repeat([]byte("1"), maxFile+1)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			put(t, dir, c.file, c.data)
			k, err := Open(config(dir))
			if err == nil || k != nil || !strings.Contains(err.Error(), dir) {
				t.Fatalf("opened: %v", err)
			}
			if strings.Contains(err.Error(), secretText[:8]) {
				t.Errorf("%q shows a secret", err)
			}
		})
	}
}

func mustNew(t *testing.T, f func() ([]byte, error)) []byte {
	t.Helper()
	b, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeysOutsideTheDirectoryAreRefused(t *testing.T) {
	dir := filled(t)
	outside := filepath.Join(t.TempDir(), "key.pem")
	if err := os.Rename(filepath.Join(dir, fileES256), outside); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, fileES256)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(config(dir)); err == nil {
		t.Error("a link out of the directory was followed")
	}
	if err := os.Remove(filepath.Join(dir, fileES256)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, fileES256), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(config(dir)); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a directory was read: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(config(file)); err == nil {
		t.Error("a file was taken for the directory")
	}
}
