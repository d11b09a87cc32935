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
	// which comes everything else that RFC 9068 requires of an access token.
	Type string
	// MaxLifetime bounds `exp` - `iat`, and makes `iat` required; zero does not.
	MaxLifetime time.Duration
	// Foreign marks an issuer outside this realm: its `ssq` and `tsq`, if any,
	// are positions in another journal and are ignored. Any Type but at+jwt
	// implies it.
	Foreign bool
}

// Requirement is one claim that a token must have: a string, or an array of
// strings that holds the value.
type Requirement struct{ Claim, Value string }

// ParseTrust reads the form that the --trust flag takes and validates it:
//
//	issuer=URL[,jwks=URL-or-file],audience=A…|require=claim:value…
//	[,alg=ES256]…[,typ=JWT][,max-lifetime=1h][,foreign=true]
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
		claim, wanted, _ := strings.Cut(value, ":")
		t.Require = append(t.Require, Requirement{claim, wanted})
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
	}
	return err
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
		if r.Claim == "" || r.Value == "" {
			fault("require %q: want claim:value", r.Claim+":"+r.Value)
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
	t.Foreign = t.Foreign || !t.profile()
	return t
}

// InRealm reports whether the issuer is one of this realm, of whose keys the feed may
// speak and whose positions count.
func (t Trust) InRealm() bool { return !t.withDefaults().Foreign }

// profile reports whether RFC 9068 binds the rule's tokens.
func (t Trust) profile() bool { return sameType(t.Type, claims.TypeAccessToken) }

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
