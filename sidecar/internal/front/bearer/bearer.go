// Package bearer is the wire side of RFC 6750 that every HTTP-like front shares:
// which token a request presents, and how a refusal is worded.
//
// Invariants:
//
//   - A token is taken from the Authorization field only (section 2.1), and only
//     where there is exactly one.
//   - A challenge holds constants, the configured realm and configured or checked
//     names of scopes and authentication contexts: nothing that a token says.
package bearer

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/revocast/revocast/sidecar/internal/gate"
)

// Credentials finds the token among the values of a request's Authorization
// fields. [gate.Unjudged] comes with a token to judge, every other outcome with
// none.
func Credentials(fields []string) (token string, o gate.Outcome) {
	switch {
	case len(fields) == 0:
		return "", gate.Absent
	case len(fields) > 1:
		return "", gate.Ambiguous
	}
	scheme, rest, _ := strings.Cut(fields[0], " ")
	rest = strings.TrimLeft(rest, " ") // RFC 9110 section 11.4: one space or more
	switch {
	case strings.EqualFold(scheme, "DPoP"):
		return "", gate.Unsupported
	case !strings.EqualFold(scheme, "Bearer"):
		return "", gate.Absent // another scheme's credentials are none of ours
	case strings.Contains(rest, ","):
		return "", gate.Ambiguous // two fields that a proxy has joined
	case rest == "":
		return "", gate.Malformed
	}
	return rest, gate.Unjudged
}

// Realm is a protection space's name, ready for a challenge.
type Realm struct{ quoted string }

// maxRealm keeps a challenge well below what proxies allow a header.
const maxRealm = 128

// NewRealm quotes name (RFC 9110 section 5.6.4), which must be 1 to 128
// characters of ASCII without control characters.
func NewRealm(name string) (Realm, error) {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(name) {
		c := name[i]
		if c < 0x20 || c >= 0x7f {
			return Realm{}, errors.New("realm: want ASCII without control characters")
		}
		if c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	if name == "" || len(name) > maxRealm {
		return Realm{}, errors.New("realm: want 1 to 128 characters")
	}
	b.WriteByte('"')
	return Realm{b.String()}, nil
}

// Challenge words a denial for WWW-Authenticate (section 3; RFC 9470). It is empty for an
// allowance and for 503, which asks for no other credentials.
func (r Realm) Challenge(d gate.Decision) string {
	if d.Verdict == gate.Allow || d.RetryAfter() > 0 {
		return ""
	}
	challenge := "Bearer realm=" + r.quoted
	if code := d.Code(); code != "" {
		challenge += `, error="` + code + `", error_description="` + d.Description() + `"`
	}
	if d.NeededScope != "" {
		challenge += `, scope="` + d.NeededScope + `"`
	}
	if d.NeededACR != "" { // these two: RFC 9470 section 3
		challenge += `, acr_values="` + d.NeededACR + `"`
	}
	if d.NeededAge > 0 {
		challenge += `, max_age="` + strconv.FormatInt(int64(d.NeededAge/time.Second), 10) + `"`
	}
	return challenge
}
