package introspect

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxFile bounds a file of clients in bytes.
	maxFile = 1 << 20
	// maxID bounds the name of a client in bytes.
	maxID = 255
	// hashPrefix says which hash of its secret a client has. A slow one would protect
	// secrets that people choose; here it would let whoever calls make the sidecar
	// work.
	hashPrefix = "sha256:"
)

// client is one who may ask, as the file has it.
type client struct {
	ID string `yaml:"id"`
	// SecretHash is "sha256:" and the hash of a secret of 128 random bits or more, in
	// base64url without padding.
	SecretHash string `yaml:"secret_hash"`
	// Certificate: it may prove itself by a certificate whose subject's common name is
	// its id.
	Certificate bool `yaml:"certificate"`
}

// Clients are those who may ask. The zero Clients are nobody. It does not change and is
// safe for concurrent use.
type Clients struct {
	secrets      map[string][sha256.Size]byte
	bearers      map[[sha256.Size]byte]string
	certificates map[string]bool
}

// ReadClients reads a file of clients, a YAML list with id and secret_hash or
// certificate. What is misspelt is refused, and no fault repeats what the file says.
func ReadClients(file string) (Clients, error) {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return Clients{}, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return Clients{}, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(content) > maxFile {
		return Clients{}, fmt.Errorf("reading %s: larger than %d bytes", file, maxFile)
	}
	clients, err := parse(content)
	if err != nil {
		return Clients{}, fmt.Errorf("reading %s: %w", file, err)
	}
	return clients, nil
}

// line is how the decoder says where a fault is; the rest of what it says quotes the
// file.
var line = regexp.MustCompile(`line \d+`)

func parse(content []byte) (Clients, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	var list []client
	err := decoder.Decode(&list)
	switch {
	case errors.Is(err, io.EOF):
		return Clients{}, errors.New("there are no clients in it")
	case err != nil:
		return Clients{}, fmt.Errorf("no list of id, secret_hash and certificate: %s", strings.Join(slices.Compact(line.FindAllString(err.Error(), 10)), ", "))
	case !errors.Is(decoder.Decode(new(yaml.Node)), io.EOF):
		return Clients{}, errors.New("more than one document")
	case len(list) == 0:
		return Clients{}, errors.New("there are no clients in it")
	}
	c := Clients{secrets: map[string][sha256.Size]byte{}, bearers: map[[sha256.Size]byte]string{}, certificates: map[string]bool{}}
	known := map[string]bool{}
	var faults []error
	for n, one := range list {
		if err := c.add(one); err != nil {
			faults = append(faults, fmt.Errorf("client %d: %w", n+1, err))
		}
		if known[one.ID] {
			faults = append(faults, fmt.Errorf("client %d: its id is given twice", n+1))
		}
		known[one.ID] = true
	}
	if err := errors.Join(faults...); err != nil {
		return Clients{}, err
	}
	return c, nil
}

func (c Clients) add(one client) error {
	if one.ID == "" || len(one.ID) > maxID || strings.ContainsFunc(one.ID, func(r rune) bool { return r <= 0x20 || r >= 0x7f }) {
		return fmt.Errorf("id: want 1 to %d visible characters of ASCII", maxID)
	}
	if one.SecretHash == "" && !one.Certificate {
		return errors.New("it can prove itself by nothing: want secret_hash or certificate")
	}
	c.certificates[one.ID] = one.Certificate
	if one.SecretHash == "" {
		return nil
	}
	text, ok := strings.CutPrefix(one.SecretHash, hashPrefix)
	sum, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(sum) != sha256.Size || strings.ContainsAny(text, "\r\n") {
		return fmt.Errorf("secret_hash: want %s and the hash in base64url without padding", hashPrefix)
	}
	hash := [sha256.Size]byte(sum)
	if hash == sha256.Sum256(nil) {
		return errors.New("secret_hash: it is the hash of nothing; was the secret's variable empty?")
	}
	if _, taken := c.bearers[hash]; taken {
		return errors.New("secret_hash: another client has it, too")
	}
	c.secrets[one.ID], c.bearers[hash] = hash, one.ID
	return nil
}

// Empty reports whether nobody may ask.
func (c Clients) Empty() bool { return len(c.certificates) == 0 }

// bySecret reports whether the secret is that of the client. It takes the same time if
// there is no such client. No secret is nobody's, whatever hashes there are.
func (c Clients) bySecret(id, secret string) bool {
	hash, known := c.secrets[id]
	sum := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(sum[:], hash[:]) == 1 && known && secret != ""
}

// byBearer gives the client whose secret it is. How long that takes depends on the hash
// alone, which nobody can choose.
func (c Clients) byBearer(secret string) (id string, ok bool) {
	id, ok = c.bearers[sha256.Sum256([]byte(secret))]
	return id, ok && secret != ""
}

// byCertificate reports whether a client of that name may prove itself so.
func (c Clients) byCertificate(name string) bool { return c.certificates[name] }
