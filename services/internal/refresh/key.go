package refresh

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/revocast/revocast/events"
)

// SecretSize is the length of a MAC key and of a session's salt, in bytes: the
// output of the hash, beyond which HMAC gains nothing (RFC 2104 section 3).
const SecretSize = 32

// keyIDSize is the length of a key id before encoding.
const keyIDSize = 8

// Key authenticates refresh tokens. The zero Key verifies nothing and derives
// nothing. It is immutable, and printing it shows its id alone.
type Key struct {
	id     events.KeyID
	secret []byte
}

// NewKey keeps a copy of secret, which must have [SecretSize] bytes.
//
// The id is computed from the secret. So an id cannot be given to two secrets, a
// damaged key file is noticed, and every well-formed id has one length, which
// lets Parse refuse the rest before anyone looks for a key.
func NewKey(secret []byte) (Key, error) {
	if len(secret) != SecretSize {
		return Key{}, fmt.Errorf("refresh-token key has %d bytes, want %d", len(secret), SecretSize)
	}
	sum := authenticate(secret, "revocast refresh key id v1")
	return Key{
		id:     events.KeyID(base64.RawURLEncoding.EncodeToString(sum[:keyIDSize])),
		secret: append([]byte(nil), secret...),
	}, nil
}

// ID names the key in tokens and in the session's state.
func (k Key) ID() events.KeyID { return k.id }

// Format shows the id whatever the verb, and never the secret.
func (k Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// String is what Format writes.
func (k Key) String() string { return "refresh key " + string(k.id) }

// MarshalText keeps the secret out of JSON and of loggers that reflect.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// authenticate is HMAC-SHA256 over the fields, each behind its length as a varint,
// so that no two lists of fields give the same message.
func authenticate(secret []byte, fields ...string) []byte {
	mac := hmac.New(sha256.New, secret)
	for _, f := range fields {
		_, _ = mac.Write(binary.AppendUvarint(nil, uint64(len(f))))
		_, _ = mac.Write([]byte(f))
	}
	return mac.Sum(nil)
}
