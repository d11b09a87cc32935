package token

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/strict"
)

// Claims are what a verified token says. Times are whole seconds in UTC, zero
// where the token has none. Texts hold no control characters and neither begin
// nor end with a space, so that they can stand in a header as they are. Claims
// are shared with the cache.
type Claims struct {
	Issuer   events.Issuer
	Subject  events.Subject
	Client   events.ClientID
	Session  events.SessionID
	ID       events.TokenID
	Key      events.KeyID
	Audience Texts
	// Scope is names separated by single spaces.
	Scope     string
	Roles     Texts
	Expires   time.Time
	NotBefore time.Time
	IssuedAt  time.Time
	AuthTime  time.Time
	ACR       string
	AMR       Texts
	// SessionAt and MintedAt are `ssq` and `tsq`: zero where the token has none
	// or its issuer's journal is not ours.
	SessionAt events.Position
	MintedAt  events.Position
}

// reader takes claims from a payload and keeps the first fault it meets.
type reader struct {
	payload strict.Object
	err     error
}

func (r *reader) fault(claim Path, what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s %s", ErrMalformed, claim, what)
	}
}

// get finds a claim.
func (r *reader) get(claim Path) (strict.Value, bool) {
	v, has, ok := claim.find(r.payload)
	if !ok {
		r.fault(claim, "is inside something that is no object")
	}
	return v, has
}

// text reads a string, "" if the claim is missing.
func (r *reader) text(claim ...string) string {
	v, ok := r.get(claim)
	if !ok {
		return ""
	}
	s, ok := v.Text()
	if !ok || !clean(s) {
		r.fault(claim, "is not plain text")
		return ""
	}
	return s
}

// require wants claims that are there and not empty.
func (r *reader) require(names ...string) {
	for _, name := range names {
		if r.text(name) == "" {
			r.fault(Path{name}, "is missing")
		}
	}
}

// texts reads a string or an array of strings, none if the claim is missing.
func (r *reader) texts(claim ...string) Texts {
	v, ok := r.get(claim)
	if !ok {
		return Texts{}
	}
	list, ok := v.Texts()
	if !ok || slices.ContainsFunc(list, func(s string) bool { return !clean(s) }) {
		r.fault(claim, "is not a list of plain texts")
		return Texts{}
	}
	return Texts{list}
}

// scope reads names separated by single spaces (RFC 6749 section 3.3) or, if many
// providers' other way is allowed, an array of such names; "" if the claim is missing.
// A name is held to the grammar, so that no element of an array reads as two.
func (r *reader) scope(array bool, claim Path) string {
	v, ok := r.get(claim)
	if !ok {
		return ""
	}
	joined, ok := v.Text()
	switch list, isList := v.Texts(); {
	case ok && joined == "":
		return ""
	case !ok && array && isList:
		ok = !slices.ContainsFunc(list, func(s string) bool { return !scopeToken(s) })
		joined = strings.Join(list, " ")
	case ok:
		for name := range strings.SplitSeq(joined, " ") {
			ok = ok && scopeToken(name)
		}
	}
	if !ok {
		r.fault(claim, "is no list of scopes")
		return ""
	}
	return joined
}

func scopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// time reads a NumericDate, the zero time if the claim is missing. A fraction is
// cut off, or up makes it a second: whichever lets the token live less.
func (r *reader) time(name string, up bool) time.Time {
	v, ok := r.payload.Get(name)
	if !ok {
		return time.Time{}
	}
	seconds, exact, ok := v.Seconds()
	if !ok {
		r.fault(Path{name}, "is not a number of seconds")
		return time.Time{}
	}
	if up && !exact {
		seconds++
	}
	return time.Unix(seconds, 0).UTC()
}

func (r *reader) position(name string) events.Position {
	s := r.text(name)
	if s == "" {
		return events.Position{}
	}
	p, err := events.ParsePosition(s)
	if err != nil {
		r.fault(Path{name}, "is not a position")
	}
	return p
}

// readClaims takes everything but `iss`, by which the rule was found. starts is the first
// second in which neither `nbf` nor `iat` lies ahead; the zero time without both.
func readClaims(p parsed, trust Trust) (c Claims, starts time.Time, err error) {
	r, n := reader{payload: p.payload}, trust.Names
	c = Claims{
		Issuer:    trust.Issuer,
		Subject:   events.Subject(r.text(n.Subject.or("sub")...)),
		Client:    events.ClientID(r.text(n.Client.or("client_id")...)),
		Session:   events.SessionID(r.text(n.Session.or("sid")...)),
		ID:        events.TokenID(r.text(n.ID.or("jti")...)),
		Key:       events.KeyID(p.key),
		Audience:  r.texts("aud"),
		Scope:     r.scope(trust.Foreign, n.Scope.or("scope")),
		Roles:     r.texts(n.Roles.or("roles")...),
		Expires:   r.time("exp", false),
		NotBefore: r.time("nbf", true),
		IssuedAt:  r.time("iat", false),
		AuthTime:  r.time("auth_time", false),
		ACR:       r.text("acr"),
		AMR:       r.texts("amr"),
	}
	if !trust.Foreign {
		c.SessionAt, c.MintedAt = r.position("ssq"), r.position("tsq")
	}
	if c.Expires.IsZero() {
		r.fault(Path{"exp"}, "is missing")
	}
	if c.IssuedAt.IsZero() && (trust.Profile() || trust.MaxLifetime > 0) {
		r.fault(Path{"iat"}, "is missing")
	}
	if trust.Profile() { // RFC 9068 section 2.2
		r.require("sub", "client_id", "jti")
	} else if len(n.Client) == 0 && c.Client == "" {
		c.Client = events.ClientID(r.text("azp")) // OpenID Connect Core section 2
	}
	return c, latest(c.NotBefore, r.time("iat", true)), r.err
}

// clean reports whether s can stand in a header as it is and come out the same:
// no control characters, also not those beyond ASCII, and no space at either
// end, which HTTP would trim, making one subject into another.
func clean(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == 0x7f || c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 {
			return false // U+0080 to U+009F are C2 80 to C2 9F
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}
