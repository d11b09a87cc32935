package verify

import (
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
)

// Claims are what a token that passed says. Times are whole seconds in UTC, zero
// where the token has none. Texts hold no control characters and neither begin
// nor end with a space.
type Claims struct {
	// Issuer and Subject identify the user together (`iss`, `sub`).
	Issuer  events.Issuer
	Subject events.Subject
	// Client is `client_id`, or of other issuers' tokens `azp`.
	Client  events.ClientID
	Session events.SessionID
	// ID is `jti`.
	ID events.TokenID
	// Key is the `kid` of the key that signed.
	Key      events.KeyID
	Audience []string
	// Scope is names separated by spaces (RFC 6749 section 3.3).
	Scope     string
	Roles     []string
	Expires   time.Time
	NotBefore time.Time
	IssuedAt  time.Time
	// AuthTime, ACR and AMR say when and how the user authenticated.
	AuthTime time.Time
	ACR      string
	AMR      []string
	// SessionAt and MintedAt are the journal positions at which the session
	// began and the token was minted; zero in tokens of other issuers.
	SessionAt events.Position
	MintedAt  events.Position
}

// HasScope reports whether the token was given that scope.
func (c Claims) HasScope(name string) bool {
	for have := range strings.SplitSeq(c.Scope, " ") {
		if have == name && name != "" {
			return true
		}
	}
	return false
}

// HasRole reports whether the token names that role.
func (c Claims) HasRole(name string) bool { return slices.Contains(c.Roles, name) }

// owned gives c slices of its own, those of a cached token being shared.
func (c Claims) owned() Claims {
	c.Audience, c.Roles, c.AMR = slices.Clone(c.Audience), slices.Clone(c.Roles), slices.Clone(c.AMR)
	return c
}
