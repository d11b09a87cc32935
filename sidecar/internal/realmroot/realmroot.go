// Package realmroot reads the public key that a realm's issuers sign with whatever may
// allow something (RFC 8410, in PEM).
//
// Invariants:
//
//   - A file that holds anything besides one Ed25519 public key is refused.
package realmroot

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
)

// Read reads the key in a file. Errors name the file.
func Read(path string) (ed25519.PublicKey, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(content)
	if block == nil || block.Type != "PUBLIC KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%s: want one PEM block, PUBLIC KEY", path)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	root, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s: want an Ed25519 key, got %T", path, key)
	}
	return root, nil
}
