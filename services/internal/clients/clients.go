// Package clients knows the OAuth clients of this issuer: who they are, what they
// may ask for, and how their sessions behave (RFC 6749 section 2). They come from
// one YAML file:
//
//	clients:
//	  - id: demo-web
//	    type: public                 # or confidential, with secret_hash
//	    grants: [authorization_code, refresh_token]
//	    redirect_uris: ["http://127.0.0.1:8090/callback"]
//	    scopes: [read, write, pay]   # what it may ask for; what it no longer may
//	    audiences: ["https://api.example"]   # is gone from its next token
//	    first_party_login: false     # may it use POST /v1/login
//	    introspection: false         # may it use POST /oauth/introspect
//
//	    access_ttl: 5m               # these four default to the issuer's own.
//	    refresh_idle: 30d            # a session ends if not refreshed for so long,
//	    refresh_absolute: 5y         # and so long after the login; none: never
//	    rotation_grace: 10s          # how long an old refresh token is a repetition
//	    rotation: true               # false: confidential clients keep their token
//	    replay: successor            # what a repetition gives a client that proves
//	                                 # nothing: also access-only, or refuse
//
//	    max_sessions: 3              # of a user with this client; 0, the default: any
//	    on_limit: evict-oldest       # or refuse
//	    single_session: false        # true: max_sessions 1 and evict-oldest
//
//	    step_up_after_idle: 14d      # then the password is asked for; none, the default
//	    device_id: optional          # or required
//	    device_change: step-up       # another device id refreshes; or ignore
//	    network_change: ignore       # another network does; or step-up
//	    replay_suspected: notify     # repetitions look like theft; or step-up
//	    high_grade_for: 15m          # tokens are of high grade so long after the
//	    high_grade_scopes: [pay]     # password; these need that. none, the default
//
//	    roles_claim: roles           # the claim that carries roles; none for none
//	    roles: [reader, editor]      # those that it may carry; by default all
//
// Durations are in Go's notation, in days (d), in years of 365 days (y), or none.
// [Live] follows the file while the issuer runs.
//
// Invariants:
//
//   - The zero [Client] may do nothing, and what the file does not grant is refused.
//   - A request sees one file, whole: a faulty one changes nothing, and one that is
//     replaced stays in force for whoever has found a client in it.
//   - The file holds no secret, only SHA-256 hashes of secrets of full strength
//     ([NewSecret]). A slow hash protects secrets that people choose; here it
//     would let whoever knows a client's id make the issuer work for him.
//   - An unknown client, a public one and a wrong secret take the same time.
package clients

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// Grant is a grant type (RFC 6749 section 1.3).
type Grant string

// The grants a client can be given.
const (
	AuthorizationCode Grant = "authorization_code"
	RefreshToken      Grant = "refresh_token"
	ClientCredentials Grant = "client_credentials"
)

// Client is one client. Its slices are shared and must not be changed.
type Client struct {
	ID events.ClientID
	// Public clients keep no secret and name themselves (RFC 6749 section 2.1).
	Public          bool
	Grants          []Grant
	FirstPartyLogin bool
	Introspection   bool
	RedirectURIs    []string
	Scopes          []string
	// Audiences are the resource servers it may have tokens for; at least one.
	Audiences []string
	// Policy is how its sessions behave, the issuer's defaults filled in.
	Policy session.Policy

	secret [sha256.Size]byte
}

// Allows reports whether the client was given g.
func (c Client) Allows(g Grant) bool { return slices.Contains(c.Grants, g) }

// Scope says what the client gets when it asks for a scope: exactly that, each
// value once and in the order asked for, or all it may have if it asks for none.
// False means that it asked for more (RFC 6749 section 3.3).
func (c Client) Scope(asked string) (string, bool) {
	if asked == "" {
		return strings.Join(c.Scopes, " "), true
	}
	var given []string
	for value := range strings.SplitSeq(asked, " ") {
		if !slices.Contains(c.Scopes, value) {
			return "", false
		}
		if !slices.Contains(given, value) {
			given = append(given, value)
		}
	}
	return strings.Join(given, " "), true
}

// Audience does the same for the one audience a request may name.
func (c Client) Audience(asked string) ([]string, bool) {
	if asked == "" {
		return slices.Clone(c.Audiences), len(c.Audiences) > 0
	}
	if !slices.Contains(c.Audiences, asked) {
		return nil, false
	}
	return []string{asked}, true
}

// Registry is all clients of one issuer. It does not change and is safe for
// concurrent use. The zero Registry knows nobody.
type Registry struct {
	clients map[events.ClientID]Client
}

// Find gives a client by its id, which proves nothing yet.
func (r Registry) Find(id events.ClientID) (Client, bool) {
	c, ok := r.clients[id]
	return c, ok
}

// Authenticate gives the client that id and secret prove, or that id names if it
// is public and the secret is empty. False is all there is to know about a failure.
func (r Registry) Authenticate(id events.ClientID, secret string) (Client, bool) {
	// An unknown client is the zero one, with a hash of zeros that no secret has.
	c := r.clients[id]
	sum := sha256.Sum256([]byte(secret))
	proved := subtle.ConstantTimeCompare(sum[:], c.secret[:]) == 1
	if c.Public {
		proved = secret == ""
	}
	if !proved {
		return Client{}, false
	}
	return c, true
}

// MaxAccessTTL is the longest lifetime any client's access tokens have.
func (r Registry) MaxAccessTTL() time.Duration {
	var longest time.Duration
	for _, c := range r.clients {
		longest = max(longest, c.Policy.AccessTTL)
	}
	return longest
}

// Audiences are all audiences that tokens of this issuer can have, sorted.
func (r Registry) Audiences() []string {
	var all []string
	for _, c := range r.clients {
		all = append(all, c.Audiences...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// NewSecret makes a client secret, 256 bits, and the hash that the file holds. The
// secret is for the client alone; it cannot be had a second time.
func NewSecret() (secret, hash string) {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	secret = base64.RawURLEncoding.EncodeToString(b)
	return secret, HashSecret(secret)
}

const hashPrefix = "sha256:"

// HashSecret is the form in which the file holds a secret: "sha256:" and base64url
// without padding. It hides a secret only if that cannot be guessed, which of those
// that [NewSecret] makes is true.
func HashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hashPrefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

func parseHash(s string) (sum [sha256.Size]byte, ok bool) {
	text, ok := strings.CutPrefix(s, hashPrefix)
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(b) != len(sum) || strings.ContainsAny(text, "\r\n") {
		return sum, false
	}
	return [sha256.Size]byte(b), true
}

// Scopes lists every scope that any client may have, sorted.
func (r Registry) Scopes() []string {
	var all []string
	for _, c := range r.clients {
		all = append(all, c.Scopes...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
