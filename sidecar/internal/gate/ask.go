package gate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Ask is what one request or route demands beyond the policy. The zero Ask
// demands nothing more, and no Ask demands less. It is read-only once in use.
type Ask struct {
	// Scopes must all be in the token, besides the policy's.
	Scopes []string
	// Roles must all be in the token.
	Roles []string
	// AnyRole wants one of its names in the token, if it has any.
	AnyRole []string
	// Audiences wants one of its names in `aud`, if it has any: beside what the
	// trust in the issuer demands, a part of the API may demand its own.
	Audiences []string
	// ACR wants `acr` to be one of its values, if it has any, the preferred first
	// (RFC 9470 section 3, `acr_values`).
	ACR []string
	// MaxAge is how long ago the user may have authenticated (RFC 9470 section 3,
	// `max_age`), in whole seconds; zero does not ask.
	MaxAge time.Duration
	// MaxStale is the greatest age of the view that will do; zero leaves it to
	// the policy.
	MaxStale time.Duration
}

// And demands what both demand, and changes neither. Of two lists of which one name
// suffices both must be met, which a single list cannot say: so more may only add
// scopes and roles, and shorten ages.
func (a Ask) And(more Ask) Ask {
	a.Scopes = slices.Concat(a.Scopes, more.Scopes)
	a.Roles = slices.Concat(a.Roles, more.Roles)
	a.MaxAge, a.MaxStale = shorter(a.MaxAge, more.MaxAge), shorter(a.MaxStale, more.MaxStale)
	return a
}

// shorter is the lesser of two bounds, of which zero is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Validate names every fault of a at once.
func (a Ask) Validate() error {
	var faults []error
	names := func(what string, list []string, valid func(string) bool) {
		for _, s := range list {
			if !valid(s) {
				faults = append(faults, fmt.Errorf("%s %q: not a name that a token can hold", what, s))
			}
		}
	}
	names("scope", a.Scopes, ValidScope)
	names("acr", a.ACR, ValidScope) // `acr_values` separates them by spaces too
	names("role", slices.Concat(a.Roles, a.AnyRole), validText)
	names("audience", a.Audiences, validText)
	if a.MaxAge < 0 || a.MaxAge%time.Second != 0 {
		faults = append(faults, fmt.Errorf("max-age %s: want whole seconds", a.MaxAge))
	}
	if a.MaxStale < 0 {
		faults = append(faults, fmt.Errorf("max-stale %s: negative", a.MaxStale))
	}
	return errors.Join(faults...)
}

// ValidScope reports whether s is a scope-token (RFC 6749 section 3.3): visible
// ASCII without quote and backslash.
func ValidScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// validText reports whether a claim may be s; what no claim can be would never be met.
func validText(s string) bool {
	return s != "" && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
}

// holds reports whether scope, names separated by spaces, has every one wanted.
func holds(scope string, wanted []string) bool {
	for _, w := range wanted {
		found := false
		for have := range strings.SplitSeq(scope, " ") {
			found = found || have == w
		}
		if !found {
			return false
		}
	}
	return true
}

// every reports whether have holds all that are wanted.
func every(have Names, wanted []string) bool {
	for _, w := range wanted {
		if have == nil || !have.Has(w) {
			return false
		}
	}
	return true
}

// one reports whether have holds one of those wanted, or none is wanted.
func one(have Names, wanted []string) bool {
	return len(wanted) == 0 || have != nil && slices.ContainsFunc(wanted, have.Has)
}

// Demands reports whether a demands anything.
func (a Ask) Demands() bool {
	return len(a.Scopes)+len(a.Roles)+len(a.AnyRole)+len(a.Audiences)+len(a.ACR) > 0 || a.MaxAge != 0 || a.MaxStale != 0
}
