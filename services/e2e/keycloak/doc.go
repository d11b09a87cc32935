// Package keycloak holds the tests beside a real Keycloak, an issuer of another maker
// that knows nothing of us: its tokens, its log-outs, its keys. They run what
// docs/identity-provider.md recommends, on the realm of deploy/examples/keycloak.
//
// `make keycloak` fetches Keycloak and runs them. Elsewhere they are skipped.
package keycloak
