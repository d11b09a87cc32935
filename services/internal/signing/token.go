package signing

import (
	"crypto/sha256"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
)

// Why a token does not hold. To its bearer all of them are invalid_token; they
// differ for logs and metrics, and hold no part of the token.
var (
	// ErrMalformed: not a token of the form that this issuer writes.
	ErrMalformed = errors.New("malformed access token")
	// ErrUntrusted: well-formed, but not signed by us, or not for us.
	ErrUntrusted = errors.New("untrusted access token")
	// ErrUnknownSigner comes with ErrUntrusted: its key is none that is in force, but
	// might be one that another issuer has just made.
	ErrUnknownSigner = errors.New("the token's key is not known here")
	// ErrExpired: it was good once.
	ErrExpired = errors.New("expired access token")
	// ErrFuture: issued later than now, by more than clocks may differ.
	ErrFuture = errors.New("access token from the future")
)

const (
	tokenType = claims.TypeAccessToken
	// maxToken bounds a token in bytes: what fits in a header of common proxies.
	maxToken = 8 << 10
)

// header is all that a header of ours says. Reading one, every further member is
// refused: crit, b64, jku, x5u, jwk, x5c and whatever else would ask to be obeyed.
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

// payload is the claims as they are read. A confirmation (RFC 7800) binds a token
// to a key whose possession nothing here checks, so a token with one is refused
// rather than taken for a bearer token.
type payload struct {
	claims.Access

	Confirmation any `json:"cnf"`
}

// Sign makes an access token (RFC 9068) of c. It refuses claims that Verify would.
// Where no key may sign at this moment, the error matches [events.ErrUnavailable].
// The result is a credential.
func (k *Keys) Sign(c claims.Access) (string, error) {
	if err := k.check(c); err != nil {
		return "", fmt.Errorf("signing token %s: %w", c.ID, err)
	}
	key, err := k.ring.Load().signer(k.cfg.Now())
	if err != nil {
		return "", fmt.Errorf("signing token %s: %w: %w", c.ID, events.ErrUnavailable, err)
	}
	body, err := encode(c)
	if err != nil {
		return "", fmt.Errorf("signing token %s: %w", c.ID, err)
	}
	enc := base64.RawURLEncoding
	text := key.header + "." + enc.EncodeToString(body)
	signature, err := key.public.method.Sign(text, key.private)
	if err != nil {
		return "", fmt.Errorf("signing token %s: %w", c.ID, err)
	}
	token := text + "." + enc.EncodeToString(signature)
	if len(token) > maxToken {
		return "", fmt.Errorf("signing token %s: it has %d bytes, at most %d", c.ID, len(token), maxToken)
	}
	return token, nil
}

// encode writes the claims, roles under the name that c gives them.
func encode(c claims.Access) ([]byte, error) {
	name, roles := c.RolesClaim, c.Roles
	if name == "" || name == "roles" || len(roles) == 0 {
		return stdjson.Marshal(c)
	}
	c.Roles = nil
	body, err1 := stdjson.Marshal(c)
	more, err2 := stdjson.Marshal(map[string][]string{name: roles})
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return append(append(body[:len(body)-1], ','), more[1:]...), nil
}

// Verify checks form, signature and claims of an access token of this issuer, and
// says with which key it was signed. Whether it was revoked is not known here.
//
// With [ErrExpired] and [ErrFuture] it gives claims and key all the same: nothing else
// is wrong with the token, and a verifier with another clock, or with leeway, takes it.
func (k *Keys) Verify(token string, now time.Time) (claims.Access, events.KeyID, error) {
	t, err := dissect(token)
	if err != nil {
		return claims.Access{}, "", err
	}
	accepted, ok := k.ring.Load().known[t.head.KeyID]
	if !ok && isThumbprint(t.head.KeyID) {
		return claims.Access{}, "", fmt.Errorf("%w: %w", ErrUntrusted, ErrUnknownSigner)
	}
	if !ok || t.head.Algorithm != accepted.Public.method.Alg() || t.head.Type != tokenType {
		return claims.Access{}, "", fmt.Errorf("%w: key, algorithm or type", ErrUntrusted)
	}
	key := accepted.Public
	if err := key.method.Verify(t.signed, t.signature, key.key); err != nil {
		return claims.Access{}, "", fmt.Errorf("%w: signature", ErrUntrusted)
	}
	if !accepted.Until.IsZero() && !now.Before(accepted.Until) {
		return claims.Access{}, "", fmt.Errorf("%w: its key is over", ErrUntrusted)
	}
	var p payload
	if err := json.Unmarshal(t.body, &p); err != nil || p.Confirmation != nil {
		return claims.Access{}, "", ErrMalformed
	}
	if err := k.check(p.Access); err != nil {
		return claims.Access{}, "", err
	}
	switch {
	case now.Unix() >= p.Expires:
		return p.Access, key.described.ID, ErrExpired
	case now.Add(k.cfg.MaxSkew).Before(time.Unix(p.IssuedAt, 0)):
		return p.Access, key.described.ID, ErrFuture
	}
	return p.Access, key.described.ID, nil
}

// dissected is a token taken apart and not yet believed.
type dissected struct {
	head      header
	body      []byte
	signed    string // what the signature is over
	signature []byte
}

// dissect checks the form before anything is believed: size, three parts in the one
// spelling of base64url, and in the first one JSON object with no member twice.
func dissect(token string) (dissected, error) {
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return dissected{}, ErrMalformed
	}
	end := strings.LastIndexByte(token, '.')
	head, body, _ := strings.Cut(token[:end], ".")
	rawHead, okHead := decodePart(head)
	rawBody, okBody := decodePart(body)
	signature, okSignature := decodePart(token[end+1:])
	if !okHead || !okBody || !okSignature {
		return dissected{}, ErrMalformed
	}
	t := dissected{body: rawBody, signed: token[:end], signature: signature}
	if err := json.Unmarshal(rawHead, &t.head, json.RejectUnknownMembers(true)); err != nil {
		return dissected{}, ErrMalformed
	}
	return t, nil
}

// decodePart refuses every second spelling. The decoder skips line breaks even when
// strict, and refuses padding and trailing bits itself.
func decodePart(s string) ([]byte, bool) {
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil
}

// check is what is asked of claims on the way out and on the way in.
func (k *Keys) check(c claims.Access) error {
	switch {
	case events.Issuer(c.Issuer) != k.cfg.Issuer:
		return fmt.Errorf("%w: issuer", ErrUntrusted)
	case !k.serves(c.Audience):
		return fmt.Errorf("%w: audience", ErrUntrusted)
	case slices.Contains(c.Audience, ""):
		return fmt.Errorf("%w: an empty audience", ErrMalformed)
	case c.Subject == "" || c.ClientID == "":
		return fmt.Errorf("%w: no subject or no client", ErrMalformed)
	case c.IssuedAt <= 0 || c.Expires <= c.IssuedAt:
		return fmt.Errorf("%w: iat and exp", ErrMalformed)
	// jti and sid become subjects of the journal; nothing but a UUID may.
	case !isUUID(c.ID) || c.Session != "" && !isUUID(c.Session):
		return fmt.Errorf("%w: jti or sid", ErrMalformed)
	case !isPosition(c.SessionAt) || !isPosition(c.MintedAt):
		return fmt.Errorf("%w: ssq or tsq", ErrMalformed)
	}
	return nil
}

// isThumbprint reports whether s could be the id of a key of ours (RFC 7638).
func isThumbprint(s string) bool {
	b, ok := decodePart(s)
	return ok && len(b) == sha256.Size
}

func isUUID(s string) bool {
	u, err := uuid.Parse(s)
	return err == nil && u.String() == s
}

func isPosition(s string) bool {
	if s == "" {
		return true
	}
	_, err := events.ParsePosition(s)
	return err == nil
}
