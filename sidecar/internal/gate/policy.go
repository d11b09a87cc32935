package gate

import (
	"errors"
	"fmt"
	"time"
)

// WhenStale says what becomes of good tokens once the view is stale.
type WhenStale uint8

const (
	// DenyStale answers 503 from stale-after on.
	DenyStale WhenStale = iota
	// ServeStale goes on with the last view until stale-limit, and says so.
	ServeStale
)

// ParseWhenStale reads "allow" or "deny".
func ParseWhenStale(s string) (WhenStale, error) {
	switch s {
	case "deny":
		return DenyStale, nil
	case "allow":
		return ServeStale, nil
	}
	return DenyStale, fmt.Errorf("%q is no policy for stale views: want allow or deny", s)
}

// String is the inverse of [ParseWhenStale].
func (w WhenStale) String() string {
	if w == ServeStale {
		return "allow"
	}
	return "deny"
}

// MinStaleAfter is the shortest stale-after: the heartbeat comes every second
// and silence is probed after three, so less would call a hiccup an outage.
const MinStaleAfter = 10 * time.Second

// Policy is what the operator has decided. The zero Policy finds every view
// stale and denies. It is read-only once in use.
type Policy struct {
	// StaleAfter is the age from which a view counts as stale.
	StaleAfter time.Duration
	WhenStale  WhenStale
	// StaleLimit is the age from which a stale view denies even under
	// [ServeStale]. At least StaleAfter; without meaning under [DenyStale].
	StaleLimit time.Duration
	// Scopes must all be in the token.
	Scopes []string
	// Shadow switches enforcement off: every denial is allowed and marked.
	Shadow bool
}

// DefaultPolicy is stale after 30 s, serves a stale view up to 15 min, and
// enforces.
func DefaultPolicy() Policy {
	return Policy{StaleAfter: 30 * time.Second, WhenStale: ServeStale, StaleLimit: 15 * time.Minute}
}

// Validate names every fault of p at once.
func (p Policy) Validate() error {
	var faults []error
	if p.StaleAfter < MinStaleAfter {
		faults = append(faults, fmt.Errorf("stale-after %s: want at least %s", p.StaleAfter, MinStaleAfter))
	}
	if p.WhenStale == ServeStale && p.StaleLimit < p.StaleAfter {
		faults = append(faults, fmt.Errorf("stale-limit %s: want at least stale-after, %s", p.StaleLimit, p.StaleAfter))
	}
	for _, s := range p.Scopes {
		if !ValidScope(s) {
			faults = append(faults, fmt.Errorf("required scope %q: not a scope name", s))
		}
	}
	return errors.Join(faults...)
}
