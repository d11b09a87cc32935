package strict

import (
	"encoding/base64"
	"errors"
)

// ErrBase64 is returned for text that is not unpadded base64url.
var ErrBase64 = errors.New("not base64url without padding")

// DecodeBase64 reads base64url as RFC 7515 section 2 defines it: the URL-safe
// alphabet, no padding, no line breaks (which encoding/base64 skips silently),
// and no bits set beyond the last byte, so that one value has one spelling.
func DecodeBase64(s string) ([]byte, error) {
	for i := range len(s) {
		if !base64urlByte(s[i]) {
			return nil, ErrBase64
		}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, ErrBase64
	}
	return b, nil
}

func base64urlByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
