package backchannel

import (
	"encoding/base64"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/services/internal/signals/provider"
)

const (
	// maxToken bounds a log-out token in bytes.
	maxToken = 8 << 10
	// maxText bounds what it says of ids, as the admin API does.
	maxText = 512
	// leeway is how far the provider's clock may be off, either way.
	leeway = events.MaxLeeway
	// maxLifetime bounds `exp` - `iat`, and with it for how long a token's use is
	// remembered. Section 2.4 wants two minutes at most.
	maxLifetime = 24 * time.Hour
	// event is the member of `events` that makes a log-out token of a JWT.
	event = "http://schemas.openid.net/event/backchannel-logout"
)

// errForm covers whatever is no signed JWT by a strict reading.
var errForm = errors.New("not a signed JWT in compact form")

// compact is a token of which the form is right and nothing else is known.
type compact struct {
	header    header
	payload   payload
	signed    string
	signature []byte
}

// header is the JOSE header. Those of its parameters that change how a token is read, or
// bring a key along, are refused: only a forger has use for them here.
type header struct {
	Algorithm string         `json:"alg"`
	KeyID     string         `json:"kid"`
	Type      jsontext.Value `json:"typ"`

	Critical jsontext.Value `json:"crit"`
	Unbased  jsontext.Value `json:"b64"`
	KeyURL   jsontext.Value `json:"jku"`
	Key      jsontext.Value `json:"jwk"`
	CertURL  jsontext.Value `json:"x5u"`
	Certs    jsontext.Value `json:"x5c"`
}

// payload is the claims as they stand; others are ignored (section 2.4).
type payload struct {
	Issuer   jsontext.Value `json:"iss"`
	Subject  jsontext.Value `json:"sub"`
	Session  jsontext.Value `json:"sid"`
	Audience jsontext.Value `json:"aud"`
	IssuedAt jsontext.Value `json:"iat"`
	Expires  jsontext.Value `json:"exp"`
	ID       jsontext.Value `json:"jti"`
	Events   jsontext.Value `json:"events"`
	Nonce    jsontext.Value `json:"nonce"`
}

// dissect reads the compact form (RFC 7515 section 7.1): three parts in the one spelling
// of base64url, the first two one JSON object each, with no member twice at any depth,
// in valid UTF-8.
func dissect(raw string) (compact, error) {
	if len(raw) > maxToken || strings.Count(raw, ".") != 2 {
		return compact{}, errForm
	}
	end := strings.LastIndexByte(raw, '.')
	head, body, _ := strings.Cut(raw[:end], ".")
	c := compact{signed: raw[:end]}
	var err error
	if c.signature, err = decodePart(raw[end+1:]); err != nil {
		return compact{}, err
	}
	if err := decodeObject(head, &c.header); err != nil {
		return compact{}, err
	}
	if err := decodeObject(body, &c.payload); err != nil {
		return compact{}, err
	}
	h := c.header
	for _, v := range []jsontext.Value{h.Critical, h.Unbased, h.KeyURL, h.Key, h.CertURL, h.Certs} {
		if v != nil {
			return compact{}, errForm
		}
	}
	return c, nil
}

func decodeObject(part string, v any) error {
	text, err := decodePart(part)
	if err != nil {
		return err
	}
	if jsontext.Value(text).Kind() != '{' || json.Unmarshal(text, v) != nil {
		return errForm
	}
	return nil
}

// decodePart refuses every second spelling. The decoder skips line breaks even when
// strict, and refuses padding and trailing bits itself.
func decodePart(s string) ([]byte, error) {
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return nil, errForm
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errForm
	}
	return b, nil
}

// typed reads `typ`. Section 2.4 recommends logout+jwt and demands nothing; providers
// that do not follow it leave typ out or say JWT, which says as little (RFC 7519 section
// 5.1). Any other type is that of something else.
func (h header) typed() (explicitly, ok bool) {
	if h.Type == nil {
		return false, true
	}
	s, ok := text(h.Type)
	if !ok {
		return false, false
	}
	const prefix = "application/"
	if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		s = s[len(prefix):] // RFC 7515 section 4.1.9
	}
	switch {
	case strings.EqualFold(s, claims.TypeLogoutToken):
		return true, true
	case strings.EqualFold(s, "JWT"):
		return false, true
	}
	return false, false
}

// verify reports whether the signature is by that key.
func (c compact) verify(k provider.Key) bool {
	var method jwt.SigningMethod
	switch k.Algorithm {
	case provider.RS256:
		method = jwt.SigningMethodRS256
	case provider.ES256:
		method = jwt.SigningMethodES256
	case provider.EdDSA:
		method = jwt.SigningMethodEdDSA
	}
	return method != nil && k.Algorithm == c.header.Algorithm && method.Verify(c.signed, c.signature, k.Public) == nil
}

// Logout is what a valid token says.
type Logout struct {
	Issuer events.Issuer
	// Session or Subject is who is logged out; of the two at least one is not empty.
	Session events.SessionID
	Subject events.Subject
	// ID is the token's `jti`.
	ID                string
	IssuedAt, Expires time.Time
}

// read judges the claims at the time now (section 2.6, steps 3 to 6). Its errors are for
// the provider.
func (p payload) read(from provider.Provider, now time.Time) (Logout, error) {
	l := Logout{Issuer: from.Issuer}
	audience, ok := texts(p.Audience)
	if !ok || len(audience) == 0 {
		return l, errors.New("aud is missing or not a string or a list of strings")
	}
	for _, a := range audience {
		if !slices.Contains(from.Audiences, a) {
			// Also if others are: OpenID Connect Core 1.0 section 3.1.3.7, step 3.
			return l, errors.New("aud names somebody who is not declared here")
		}
	}
	var okIssued, okExpires bool
	l.IssuedAt, okIssued = seconds(p.IssuedAt)
	l.Expires, okExpires = seconds(p.Expires)
	switch {
	case !okIssued:
		return l, errors.New("iat is missing or not a number of seconds")
	case !okExpires:
		return l, errors.New("exp is missing or not a number of seconds")
	case l.IssuedAt.After(now.Add(leeway)):
		return l, errors.New("iat lies in the future")
	case !l.Expires.After(now.Add(-leeway)):
		return l, errors.New("exp has passed")
	case l.Expires.Before(l.IssuedAt) || l.Expires.Sub(l.IssuedAt) > maxLifetime:
		return l, errors.New("exp is not within 24 hours after iat")
	}
	if l.ID, ok = text(p.ID); !ok {
		return l, errors.New("jti is missing or not plain text of 1 to 512 bytes")
	}
	var told map[string]jsontext.Value
	if p.Events.Kind() != '{' || json.Unmarshal(p.Events, &told) != nil || told[event].Kind() != '{' {
		return l, errors.New("events is not an object with an object for a back-channel log-out in it")
	}
	if p.Nonce != nil {
		return l, errors.New("nonce is there, as in an ID token")
	}
	session, okSession := text(p.Session)
	subject, okSubject := text(p.Subject)
	switch {
	case p.Session != nil && !okSession:
		return l, errors.New("sid is not plain text of 1 to 512 bytes")
	case p.Subject != nil && !okSubject:
		return l, errors.New("sub is not plain text of 1 to 512 bytes")
	case !okSession && !okSubject:
		return l, errors.New("neither sub nor sid says who is logged out")
	}
	l.Session, l.Subject = events.SessionID(session), events.Subject(subject)
	return l, nil
}

// text reads a string that can name something: not empty, bounded, and such that it
// stands in a header as it is, since that is what sidecars accept in a token.
func text(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	s := string(b)
	ok := err == nil && s != "" && len(s) <= maxText && utf8.ValidString(s) && s[0] != ' ' && s[len(s)-1] != ' ' &&
		!strings.ContainsFunc(s, unicode.IsControl)
	if !ok {
		return "", false
	}
	return s, true
}

// texts reads a string or a list of them, as JWT writes `aud`.
func texts(v jsontext.Value) ([]string, bool) {
	if v.Kind() == '"' {
		s, ok := text(v)
		return []string{s}, ok
	}
	var values []jsontext.Value
	if v.Kind() != '[' || json.Unmarshal(v, &values) != nil {
		return nil, false
	}
	list := make([]string, len(values))
	for i, value := range values {
		var ok bool
		if list[i], ok = text(value); !ok {
			return nil, false
		}
	}
	return list, true
}

// maxSeconds is the last second of the year 9999.
const maxSeconds = 253402300799

// seconds reads a NumericDate (RFC 7519 section 2). A fraction is cut off: it makes a
// token expire a little earlier, and a cut by time counts whole seconds anyway.
func seconds(v jsontext.Value) (time.Time, bool) {
	if v.Kind() != '0' {
		return time.Time{}, false
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f <= 0 || f > maxSeconds {
		return time.Time{}, false
	}
	return time.Unix(int64(math.Floor(f)), 0), true
}
