// Package refresh is the codec of refresh tokens (RFC 6749 section 1.5, ADR-0004).
//
//	<key id>.<payload>.<tag ‖ mac>     each base64url without padding (RFC 4648 section 5)
//
//	key id   8 bytes     which MAC key
//	payload  1 byte      version, 1
//	         16 bytes    subject key: where the journal keeps the session
//	         16 bytes    sid, a UUIDv7
//	         1–10 bytes  generation, unsigned varint in its shortest form
//	tag      8 bytes     HMAC-SHA256 under the key, cut, over a label, realm,
//	                     key id and payload: tells noise without a read
//	mac      32 bytes    HMAC-SHA256 under the key over a label, realm, key id,
//	                     payload and the session's salt
//
// Every field under a MAC stands behind its length as a varint.
//
// A token is derived, never stored. The salt lies in the journal and the key in
// the key directory; either alone forges nothing.
//
// Invariants:
//
//   - A token has exactly one spelling: what [Parse] accepts, [Derive] would
//     have written, byte for byte, given the key and the salt.
//   - Parse judges form alone, [Token.Plausible] that somebody with the key wrote
//     the fields. Nothing a token says is true before [Token.Verify]; a MAC that
//     does not verify is noise (INV-4).
//   - Neither a token nor a key shows in a log, whatever verb or encoder prints it.
package refresh

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

const (
	label      = "revocast refresh v1"
	tagLabel   = "revocast refresh tag v1"
	version    = 1
	fixedSize  = 1 + 16 + 16 // version, subject key, sid
	tagSize    = 8
	macSize    = 32
	minPayload = fixedSize + 1
	maxPayload = fixedSize + binary.MaxVarintLen64
)

// MaxLength bounds a token in bytes. Whatever is longer is refused unread.
const MaxLength = (keyIDSize*4+2)/3 + 1 + (maxPayload*4+2)/3 + 1 + ((tagSize+macSize)*4+2)/3

// ErrMalformed is returned for text that no key and no salt would have given. It
// carries no part of the text.
var ErrMalformed = errors.New("not a refresh token")

// Fields is what a token says. The scope, the client and everything else that is
// bound to the session are in its state, not here.
type Fields struct {
	Subject    events.SubjectKey
	Session    events.SessionID
	Generation uint64
}

// Token is a refresh token as it was presented. The zero Token verifies under
// nothing. Printing one shows no part of it.
type Token struct {
	keyID   events.KeyID
	fields  Fields
	payload string
	tag     [tagSize]byte
	mac     [macSize]byte
}

// Parse reads a token's form, strictly; anything else is [ErrMalformed]. The
// result says nothing true before [Token.Verify] has.
func Parse(s string) (Token, error) {
	if len(s) > MaxLength {
		return Token{}, ErrMalformed
	}
	id, rest, _ := strings.Cut(s, ".")
	body, sum, ok := strings.Cut(rest, ".")
	if !ok {
		return Token{}, ErrMalformed
	}
	key, okKey := decode(id, keyIDSize, keyIDSize)
	payload, okPayload := decode(body, minPayload, maxPayload)
	proof, okMAC := decode(sum, tagSize+macSize, tagSize+macSize)
	if !okKey || !okPayload || !okMAC {
		return Token{}, ErrMalformed
	}
	fields, err := unpack(payload)
	if err != nil {
		return Token{}, err
	}
	return Token{
		keyID:   events.KeyID(base64.RawURLEncoding.EncodeToString(key)),
		fields:  fields,
		payload: string(payload),
		tag:     [tagSize]byte(proof),
		mac:     [macSize]byte(proof[tagSize:]),
	}, nil
}

// decode reads base64url of the given number of bytes, in its one spelling.
func decode(s string, atLeast, atMost int) ([]byte, bool) {
	// The decoder skips line breaks even when strict; every other second
	// spelling (padding, trailing bits) it refuses itself.
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) >= atLeast && len(b) <= atMost
}

func pack(f Fields) (string, error) {
	b := make([]byte, 1, maxPayload)
	b[0] = version
	key, err := hex.DecodeString(string(f.Subject))
	if err != nil || len(key) != 16 || hex.EncodeToString(key) != string(f.Subject) {
		return "", fmt.Errorf("subject key of session %s is not 32 lower-case hexadecimal digits", f.Session)
	}
	sid, err := uuid.Parse(string(f.Session))
	if err != nil || sid.String() != string(f.Session) || !isV7(sid) {
		return "", fmt.Errorf("session id %q is not a UUIDv7 in lower-case text", string(f.Session))
	}
	b = append(b, key...)
	b = append(b, sid[:]...)
	return string(binary.AppendUvarint(b, f.Generation)), nil
}

func unpack(payload []byte) (Fields, error) {
	sid := uuid.UUID(payload[17:fixedSize])
	generation, n := binary.Uvarint(payload[fixedSize:])
	// A varint that ends in a zero byte has a shorter form.
	longer := n > 1 && payload[len(payload)-1] == 0
	if payload[0] != version || !isV7(sid) || n != len(payload)-fixedSize || longer {
		return Fields{}, ErrMalformed
	}
	return Fields{
		Subject:    events.SubjectKey(hex.EncodeToString(payload[1:17])),
		Session:    events.SessionID(sid.String()),
		Generation: generation,
	}, nil
}

func isV7(u uuid.UUID) bool { return u.Version() == 7 && u.Variant() == uuid.RFC4122 }

// Derive gives the one token that says f in the given realm, for a session with
// the given salt. It is pure: the same arguments give the same token, on every
// replica and at any time, which is what makes a replayed answer possible.
//
// The result is a credential. An error means that an argument is not what this
// system makes; it names no secret.
func Derive(key Key, realm subject.Realm, salt []byte, f Fields) (string, error) {
	if len(key.secret) != SecretSize || len(salt) != SecretSize || realm == "" {
		return "", fmt.Errorf("deriving a refresh token for session %s: key, salt or realm is missing", f.Session)
	}
	payload, err := pack(f)
	if err != nil {
		return "", fmt.Errorf("deriving a refresh token: %w", err)
	}
	proof := append(tag(key, realm, payload),
		authenticate(key.secret, label, string(realm), string(key.id), payload, string(salt))...)
	enc := base64.RawURLEncoding
	return string(key.id) + "." + enc.EncodeToString([]byte(payload)) + "." + enc.EncodeToString(proof), nil
}

func tag(key Key, realm subject.Realm, payload string) []byte {
	return authenticate(key.secret, tagLabel, string(realm), string(key.id), payload)[:tagSize]
}

// KeyID names the MAC key that the token claims.
func (t Token) KeyID() events.KeyID { return t.keyID }

// Fields is what the token claims: enough to find the session, and nothing more
// until [Token.Verify].
func (t Token) Fields() Fields { return t.fields }

// Plausible reports whether someone with the key wrote the token's fields, for
// this realm. It needs no salt, so it spares the journal a read and a barrier for
// what anybody can make up; it authenticates nothing.
func (t Token) Plausible(key Key, realm subject.Realm) bool {
	if len(key.secret) != SecretSize || realm == "" || key.id != t.keyID {
		return false
	}
	return hmac.Equal(t.tag[:], tag(key, realm, t.payload))
}

// Verify reports whether key, for a session of the realm with this salt, derives
// exactly this token. The comparison takes the same time wherever they differ.
func (t Token) Verify(key Key, realm subject.Realm, salt []byte) bool {
	if len(salt) != SecretSize || !t.Plausible(key, realm) {
		return false
	}
	return hmac.Equal(t.mac[:], authenticate(key.secret, label, string(realm), string(key.id), t.payload, string(salt)))
}

const redacted = "[refresh token]"

// Format prints a placeholder whatever the verb.
func (Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// String gives the same placeholder.
func (Token) String() string { return redacted }

// MarshalText keeps the token out of JSON and of loggers that reflect.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }
