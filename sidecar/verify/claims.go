package verify

import (
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/token"
)

// Texts are the values of one claim; nobody can change them.
type Texts = token.Texts

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
	Audience Texts
	// Scope is names separated by spaces (RFC 6749 section 3.3).
	Scope     string
	Roles     Texts
	Expires   time.Time
	NotBefore time.Time
	IssuedAt  time.Time
	// AuthTime, ACR and AMR say when and how the user authenticated.
	AuthTime time.Time
	ACR      string
	AMR      Texts
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
func (c Claims) HasRole(name string) bool { return c.Roles.Has(name) }
