package operators

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

const (
	// tokenPrefix begins every token.
	tokenPrefix = "rvo_"
	keyBytes    = 16 // of a subject key
	nonceBytes  = 16
	macBytes    = 16
)

// encoding has one text for each value: what is not that text is no token.
func encoding() *base64.Encoding { return base64.RawURLEncoding.Strict() }

func hashOf(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// newToken makes a token for the operator of this key.
func newToken(keyer subject.Keyer, key events.SubjectKey) string {
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	secret := append(nonce, mac(keyer, key, nonce)...)
	return tokenPrefix + encoding().EncodeToString(decodeKey(key)) + "_" + encoding().EncodeToString(secret)
}

// parseToken gives the key of a token that this realm has made.
func parseToken(keyer subject.Keyer, token string) (events.SubjectKey, bool) {
	name := encoding().EncodedLen(keyBytes)
	rest, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(rest) != name+1+encoding().EncodedLen(nonceBytes+macBytes) || rest[name] != '_' {
		return "", false
	}
	raw, err1 := encoding().DecodeString(rest[:name])
	secret, err2 := encoding().DecodeString(rest[name+1:])
	if err1 != nil || err2 != nil {
		return "", false
	}
	key := events.SubjectKey(hex.EncodeToString(raw))
	if subtle.ConstantTimeCompare(secret[nonceBytes:], mac(keyer, key, secret[:nonceBytes])) != 1 {
		return "", false
	}
	return key, true
}

// mac uses the keyer, whose keys are MACs over what is labelled.
func mac(keyer subject.Keyer, key events.SubjectKey, nonce []byte) []byte {
	return decodeKey(keyer.Key(events.KindUnknown, "", "operator-token:"+string(key)+":"+hex.EncodeToString(nonce)))
}

// decodeKey gives the bytes of a key, which a [subject.Keyer] has written.
func decodeKey(key events.SubjectKey) []byte {
	raw, err := hex.DecodeString(string(key))
	if err != nil {
		return bytes.Repeat([]byte{0}, keyBytes)
	}
	return raw
}
