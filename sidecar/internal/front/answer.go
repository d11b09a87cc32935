package front

import (
	"strconv"
	"strings"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front/bearer"
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/verify"
)

// Answer is a decision and its wording. Claims are zero unless the verifier vouches
// for them.
type Answer struct {
	Claims   verify.Claims
	Decision gate.Decision
	realm    bearer.Realm
}

// Allowed reports whether the request may pass.
func (a Answer) Allowed() bool { return a.Decision.Verdict == gate.Allow }

// Known reports whether it is known who asks: what a verifier vouches for expires.
func (a Answer) Known() bool { return !a.Claims.Expires.IsZero() }

// Field is one header field. Its name is in the canonical form of net/http.
type Field struct{ Name, Value string }

// FreshAsOf is the name of the field that says as of when revocations were known.
const FreshAsOf = "X-Revocast-Fresh-As-Of"

// Identity says who asks: always the same six fields, empty where nothing is known,
// for the application behind.
func (a Answer) Identity() [6]Field {
	c, expires := a.Claims, ""
	if !c.Expires.IsZero() {
		expires = strconv.FormatInt(c.Expires.Unix(), 10)
	}
	return [6]Field{
		{"X-Auth-Subject", string(c.Subject)},
		{"X-Auth-Session", string(c.Session)},
		{"X-Auth-Client", string(c.Client)},
		{"X-Auth-Scope", c.Scope},
		{"X-Auth-Roles", roles(c.Roles)},
		{"X-Auth-Expires", expires},
	}
}

// freshLayout is RFC 3339 with milliseconds.
const freshLayout = "2006-01-02T15:04:05.000Z07:00"

// Fresh says as of when revocations were known; empty where they never were.
func (a Answer) Fresh() Field {
	if a.Decision.FreshAsOf.IsZero() {
		return Field{FreshAsOf, ""}
	}
	return Field{FreshAsOf, a.Decision.FreshAsOf.UTC().Format(freshLayout)}
}

// Refusal are the fields of a denial for the client, besides [Answer.Fresh]: what to
// bring (RFC 6750 section 3), when to come again, and that no cache may keep it. There
// are none where the request may pass.
func (a Answer) Refusal() []Field {
	if a.Allowed() {
		return nil
	}
	fields := make([]Field, 1, 3)
	// No two requests have one answer for longer than it takes to give it.
	fields[0] = Field{"Cache-Control", "no-store"}
	if challenge := a.realm.Challenge(a.Decision); challenge != "" {
		fields = append(fields, Field{"Www-Authenticate", challenge})
	}
	if wait := a.Decision.RetryAfter(); wait > 0 {
		fields = append(fields, Field{"Retry-After", strconv.FormatInt(int64(wait/time.Second), 10)})
	}
	return fields
}

// roles joins role names with commas. A comma inside a name is escaped as in a
// URL, and so is the percent sign: no name must read as two.
func roles(names verify.Texts) string {
	if names.Len() == 0 {
		return ""
	}
	var joined strings.Builder
	joined.Grow(64)
	first := true
	for name := range names.All() {
		if !first {
			joined.WriteByte(',')
		}
		first = false
		joined.WriteString(strings.ReplaceAll(strings.ReplaceAll(name, "%", "%25"), ",", "%2C"))
	}
	return joined.String()
}
