// Package metadata is the issuer's description of itself: RFC 8414 at
// /.well-known/oauth-authorization-server and OpenID Connect Discovery 1.0 at
// /.well-known/openid-configuration.
//
// Invariants:
//
//   - `issuer` is byte for byte what tokens carry as `iss` (RFC 8414 section 3.3).
//   - Only what is really served is named; members without values are left out.
package metadata

import (
	"encoding/json"
	"net/http"

	"github.com/revocast/revocast/events"
)

// document is what both well-known paths answer.
type document struct {
	Issuer         string   `json:"issuer"`
	TokenEndpoint  string   `json:"token_endpoint"`
	RevocationURL  string   `json:"revocation_endpoint"`
	JWKS           string   `json:"jwks_uri"`
	GrantTypes     []string `json:"grant_types_supported"`
	TokenAuth      []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuth []string `json:"revocation_endpoint_auth_methods_supported"`
	Scopes         []string `json:"scopes_supported,omitempty"`
}

// Handler answers with the document of an issuer whose endpoints lie below its own
// URL. scopes is asked each time, since clients come and go while it runs.
func Handler(issuer events.Issuer, scopes func() []string) http.Handler {
	methods := []string{"none", "client_secret_basic", "client_secret_post"}
	d := document{
		Issuer: string(issuer), TokenEndpoint: string(issuer) + "/oauth/token",
		RevocationURL: string(issuer) + "/oauth/revoke", JWKS: string(issuer) + "/.well-known/jwks.json",
		GrantTypes: []string{"refresh_token"}, TokenAuth: methods, RevocationAuth: methods,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now := d
		now.Scopes = scopes()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_ = json.NewEncoder(w).Encode(now) // the client may be gone
	})
}
