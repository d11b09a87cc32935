package token

import (
	"slices"
)

// otherKind says what marks a token as something else than an access token; "" if
// nothing does. Issuers sign much with the keys of their access tokens, and an ID token
// (OpenID Connect Core section 2) is the one that a client has at hand and may present
// by mistake. Where the header's typ is at+jwt that is settled (RFC 9068); where it is
// JWT, or there is none, the payload must tell:
//
//   - events: logout tokens and security events (RFC 8417), whatever their typ.
//   - at_hash, c_hash, s_hash: the hash of something sent along with an ID token.
//   - nonce: echoes an authentication request, for a client to compare. Old versions of
//     Keycloak, and new ones by a mapper, copy it into access tokens; these say of
//     themselves what they are, and that counts.
//   - typ: what Keycloak calls its tokens in the payload.
//   - token_use: what Cognito calls its own.
//
// An ID token with none of these, such as Entra's after a refresh, has `aud` left: the
// client's id, which is no API's audience. Where client and API are one registration,
// the rule must require a claim that only access tokens have: require=azp:*.
func (t Trust) otherKind(p parsed) string {
	if p.payload.Has("events") {
		return "it tells events, so it is a logout token or a security event"
	}
	if t.Profile() {
		return ""
	}
	kind := text(p.payload, "typ")
	switch {
	case slices.Contains([]string{"ID", "Serialized-ID", "Refresh", "Offline", "Logout"}, kind):
		return "the payload's typ is of no access token"
	case text(p.payload, "token_use") == "id":
		return "token_use is of an ID token"
	case slices.ContainsFunc([]string{"at_hash", "c_hash", "s_hash"}, p.payload.Has):
		return "it holds the hash of a token or code, so it is an ID token"
	case p.payload.Has("nonce") && kind != "Bearer" && kind != "DPoP":
		return "it holds a nonce, so it is an ID token"
	}
	return ""
}
