// Package claims names what a Revocast access token says (RFC 9068, with the
// positions of ADR-0005), so that issuer and verifier spell it alike.
package claims

import (
	"encoding/json"
	"errors"
	"slices"
)

// Types of JOSE objects (`typ`). Kept apart so that no token of one kind is ever
// taken for another (RFC 8725 section 3.11).
const (
	TypeAccessToken = "at+jwt"
	TypeLogoutToken = "logout+jwt"
)

// Access is the payload of an access token. Times are NumericDate in whole
// seconds (RFC 7519 section 2). Positions have the form of events.Position.
type Access struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  Audience `json:"aud"`
	ClientID  string   `json:"client_id"`
	Expires   int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	ID        string   `json:"jti"`
	Session   string   `json:"sid,omitempty"`
	SessionAt string   `json:"ssq,omitempty"`
	MintedAt  string   `json:"tsq,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	ACR       string   `json:"acr,omitempty"`
	AMR       []string `json:"amr,omitempty"`

	// RolesClaim is the name under which Roles are written, "roles" if empty. It is
	// for those who sign; under another name nobody reads them back into Roles.
	RolesClaim string `json:"-"`
}

// Audience is `aud`: one string or an array of them (RFC 7519 section 4.1.3). It
// is written as a string when there is one.
type Audience []string

// Contains reports whether a token with this audience is meant for wanted.
func (a Audience) Contains(wanted string) bool {
	return slices.Contains(a, wanted)
}

// MarshalJSON implements [json.Marshaler].
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (a *Audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = Audience{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("aud is neither a string nor an array of strings")
	}
	*a = many
	return nil
}
