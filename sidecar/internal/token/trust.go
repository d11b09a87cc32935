package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/claims"
	"github.com/revocast/revocast/sidecar/internal/jwks"
)

// Trust says which tokens of one issuer are accepted. Issuer and one of
// Audiences and Require suffice.
type Trust struct {
	// Issuer is the `iss`, compared byte by byte: an https URL, or http on
	// loopback, without a query.
	Issuer events.Issuer
	// JWKS is the URL or file of the issuer's keys; empty finds them by its
	// metadata.
	JWKS string
	// Audiences are the names this verifier answers to: `aud` must hold one of
	// them. Empty only where Require is given.
	Audiences []string
	// Require are further claims, all of which must hold.
	Require []Requirement
	// Algorithms are those accepted; empty accepts all of [jwks.Algorithms].
	Algorithms []string
	// Type is the `typ` accepted, without "application/"; empty is at+jwt, with
	// which comes everything else that RFC 9068 requires of an access token. "none"
	// accepts tokens whose header has no typ (Cognito, Okta), and needs Require.
	Type string
	// MaxLifetime bounds `exp` - `iat`, and makes `iat` required. Zero does not in the
	// realm, where the issuer says how long its tokens live; of a foreign issuer it is
	// [ForeignLifetime].
	MaxLifetime time.Duration
	// Foreign marks an issuer outside this realm: its `ssq` and `tsq`, if any,
	// are positions in another journal and are ignored. Any Type but at+jwt
	// implies it.
	Foreign bool
	// Names are for foreign issuers only.
	Names Names
}

// ForeignLifetime is the longest that a foreign issuer's tokens may live unless its
// rule says otherwise: for so long the realm's issuers revoke them unless told
// otherwise, and a token must not outlive what denies it (ADR-0012).
const ForeignLifetime = 24 * time.Hour

// Names say which claims of a foreign issuer's tokens stand for what; each left out has
// the name it has in the realm, and Client is then also found as `azp`. By what these
// claims say the tokens are revoked, so whoever revokes has to know them by the same.
// Logout tokens of such an issuer say `sub` and `sid`: they reach only tokens of rules
// that leave Subject and Session alone.
type Names struct{ Subject, Client, Session, ID, Scope, Roles Path }

// all gives the settings' names with where they are kept.
func (n *Names) all() [6]struct {
	name string
	path *Path
} {
	return [6]struct {
		name string
		path *Path
	}{
		{"subject", &n.Subject},
		{"client", &n.Client},
		{"session", &n.Session},
		{"id", &n.ID},
		{"scope", &n.Scope},
		{"roles", &n.Roles},
	}
}

// ParseTrust reads the form that the --trust flag takes and validates it:
//
//	issuer=URL[,jwks=URL-or-file],audience=A…|require=claim:value…
//	[,alg=ES256]…[,typ=JWT][,max-lifetime=1h][,foreign=true]
//	[,subject=claim][,client=claim][,session=claim][,id=claim][,scope=claim][,roles=claim]
//
// Claims are written as [ParsePath] has it.
func ParseTrust(s string) (Trust, error) {
	var t Trust
	var faults []error
	seen := map[string]bool{}
	for word := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(word, "=")
		if value == "" {
			faults = append(faults, fmt.Errorf("%q: want name=value", word))
			continue
		}
		if many := name == "audience" || name == "require" || name == "alg"; seen[name] && !many {
			faults = append(faults, fmt.Errorf("%s: given twice", name))
		}
		seen[name] = true
		if err := set(&t, name, value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	if err := errors.Join(append(faults, t.Validate())...); err != nil {
		return Trust{}, fmt.Errorf("trust %q: %w", s, err)
	}
	return t, nil
}

// set takes one word of the flag's form into t.
func set(t *Trust, name, value string) (err error) {
	switch name {
	case "issuer":
		t.Issuer = events.Issuer(value)
	case "jwks":
		t.JWKS = value
	case "audience":
		t.Audiences = append(t.Audiences, value)
	case "require":
		var r Requirement
		if r, err = parseRequirement(value); err == nil {
			t.Require = append(t.Require, r)
		}
	case "alg":
		t.Algorithms = append(t.Algorithms, value)
	case "typ":
		t.Type = value
	case "max-lifetime":
		if t.MaxLifetime, err = time.ParseDuration(value); err == nil && t.MaxLifetime == 0 {
			err = errors.New("want more than nothing")
		}
	case "foreign":
		if t.Foreign = value == "true"; !t.Foreign && value != "false" {
			err = fmt.Errorf("%q is neither true nor false", value)
		}
	default:
		err = errors.New("no such setting")
		for _, n := range t.Names.all() {
			if n.name == name {
				*n.path, err = ParsePath(value)
			}
		}
	}
	return err
}

// String gives the form that [ParseTrust] reads.
func (t Trust) String() string {
	var b strings.Builder
	word := func(name, value string) {
		if value != "" {
			b.WriteString("," + name + "=" + value)
		}
	}
	word("jwks", t.JWKS)
	for _, a := range t.Audiences {
		word("audience", a)
	}
	for _, r := range t.Require {
		word("require", r.String())
	}
	for _, a := range t.Algorithms {
		word("alg", a)
	}
	word("typ", t.Type)
	if t.MaxLifetime > 0 {
		word("max-lifetime", t.MaxLifetime.String())
	}
	if t.Foreign {
		word("foreign", "true")
	}
	for _, n := range t.Names.all() {
		word(n.name, n.path.String())
	}
	return "issuer=" + string(t.Issuer) + b.String()
}

// Validate names every fault of t at once.
func (t Trust) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	if t.Issuer == "" {
		fault("issuer: missing")
	} else if _, err := jwks.ParseIssuer(t.Issuer); err != nil {
		fault("issuer %q: %w", t.Issuer, err)
	}
	if strings.Contains(t.JWKS, "://") {
		if _, err := jwks.ParseURL(t.JWKS); err != nil {
			fault("jwks %q: %w", t.JWKS, err)
		}
	}
	if len(t.Audiences) == 0 && len(t.Require) == 0 {
		fault("neither audience nor require: tokens meant for others would pass")
	}
	if slices.Contains(t.Audiences, "") {
		fault("audience: empty")
	}
	for _, r := range t.Require {
		if len(r.Claim) == 0 || r.Value == "" {
			fault("require %q: want claim:value", r)
		}
	}
	for _, a := range t.Algorithms {
		if !slices.Contains(jwks.Algorithms(), a) {
			fault("alg %q: want one of %s", a, strings.Join(jwks.Algorithms(), ", "))
		}
	}
	switch {
	case t.Type != "" && !printable(t.Type):
		fault("typ %q: not a media type", t.Type)
	case slices.ContainsFunc(otherTypes(), func(o string) bool { return sameType(t.Type, o) }):
		fault("typ %q: not a type of access tokens", t.Type)
	case t.Type == typeNone && len(t.Require) == 0:
		fault("typ %s: want require as well, to tell access tokens from ID tokens", typeNone)
	}
	for _, n := range t.Names.all() {
		if len(*n.path) > 0 && t.InRealm() {
			fault("%s: for foreign issuers only (a typ but at+jwt, or foreign=true)", n.name)
		}
	}
	if t.MaxLifetime < 0 {
		fault("max-lifetime %s: negative", t.MaxLifetime)
	}
	return errors.Join(faults...)
}

// otherTypes are signed objects that no rule may take for access tokens: logout
// tokens, security events (RFC 8417), DPoP proofs (RFC 9449), status lists.
func otherTypes() []string {
	return []string{claims.TypeLogoutToken, "secevent+jwt", "dpop+jwt", "statuslist+jwt"}
}

// withDefaults fills what may be left out.
func (t Trust) withDefaults() Trust {
	if t.Type == "" {
		t.Type = claims.TypeAccessToken
	}
	if len(t.Algorithms) == 0 {
		t.Algorithms = jwks.Algorithms()
	}
	t.Foreign = t.Foreign || !t.Profile()
	if t.Foreign && t.MaxLifetime == 0 {
		t.MaxLifetime = ForeignLifetime
	}
	return t
}

// typeNone is the Type of tokens whose header has none.
const typeNone = "none"

// InRealm reports whether the issuer is one of this realm, of whose keys the feed may
// speak and whose positions count.
func (t Trust) InRealm() bool { return !t.withDefaults().Foreign }

// Profile reports whether RFC 9068 binds the rule's tokens.
func (t Trust) Profile() bool { return sameType(t.Type, claims.TypeAccessToken) }

// sameType compares media types as RFC 7515 section 4.1.9 has it: without regard
// to case, and one without a slash stands for itself under "application/".
func sameType(a, b string) bool {
	return strings.EqualFold(bareType(a), bareType(b))
}

func bareType(s string) string {
	const prefix = "application/"
	if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) && !strings.Contains(s[len(prefix):], "/") {
		return s[len(prefix):]
	}
	return s
}

// printable reports whether s is visible ASCII, where folding case maps nothing
// onto a letter that looks like another.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}
