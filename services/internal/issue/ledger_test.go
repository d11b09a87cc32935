package issue

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
)

// giver is one issuer with a clock of its own.
type giver struct {
	ttl   time.Duration
	ahead time.Duration
	known []events.Lifetime
}

// Whoever reads the ledger knows when the last token expires: of those that are there,
// by a reading that is ten seconds old; and of those minted while it revokes, as long
// as a revocation takes.
func TestNoTokenOutlivesTheLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ttls := []time.Duration{time.Second, time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour}
		now := time.Unix(1795310000, 0)
		var ledger []events.Lifetime
		type reading struct {
			list []events.Lifetime
			at   time.Time
		}
		var readings []reading
		var last time.Time // expiry of any token
		givers := make([]*giver, rapid.IntRange(1, 3).Draw(t, "issuers"))
		for i := range givers {
			givers[i] = &giver{
				ttl:   rapid.SampledFrom(ttls).Draw(t, "ttl"),
				ahead: time.Duration(rapid.IntRange(-2, 2).Draw(t, "skew")) * time.Second,
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 5, 20, 60, 400, 4000}).Draw(t, "passes")) * time.Second)
			g := rapid.SampledFrom(givers).Draw(t, "who")
			local := now.Add(g.ahead)
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0:
				g.ttl = rapid.SampledFrom(ttls).Draw(t, "ttl")
			case 1, 2: // declares, as Service.Declare does
				if leased(g.known, g.ttl, local.Add(leaseFor/2)) {
					break
				}
				if !leased(ledger, g.ttl, local.Add(leaseFor/2)) {
					ledger = declare(ledger, g.ttl, local)
				}
				g.known = ledger
			default: // mints
				ttl := min(g.ttl, given(g.known, local))
				if ttl == 0 {
					break
				}
				expires := local.Add(ttl)
				last = later(last, expires)
				for _, r := range readings {
					// A revoker holds a lease itself, so the ledger it reads is in force.
					if now.Sub(r.at) > 3*appendWithin || !leased(r.list, 1, r.at.Add(leaseFor/2+2*time.Second)) {
						continue
					}
					by := r.at.Add(-2*time.Second + underWay + events.MaxSkew) // by the slowest clock
					if by.Before(local) {
						continue // longer than announcing and recording take
					}
					if until := lastExpiry(r.list, time.Time{}, by); until.Before(expires) {
						t.Fatalf("minted %s after a reading: expires %s after what it says", now.Sub(r.at), expires.Sub(until))
					}
				}
			}
			readings = append(readings, reading{ledger, now})
			for _, r := range readings {
				if age := now.Sub(r.at); age > ledgerFor || !leased(r.list, 1, r.at.Add(leaseFor/2+2*time.Second)) {
					continue
				}
				by := now.Add(-2*time.Second + underWay + events.MaxSkew)
				if until := lastExpiry(r.list, time.Time{}, by); until.Before(last) && last.After(now) {
					t.Fatalf("a reading %s old says that the last token expires %s before it does", now.Sub(r.at), last.Sub(until))
				}
			}
			if len(ledger) > maxLifetimes {
				t.Fatalf("%d lifetimes", len(ledger))
			}
		}
	})
}

// A lifetime that is given no more stops lengthening revocations: once its lease and
// the last token of it have run out.
func TestTheLedgerForgets(t *testing.T) {
	now := time.Unix(1795310000, 0)
	list := declare(nil, 24*time.Hour, now)
	if given(list, now) != 24*time.Hour {
		t.Fatalf("the first declaration is not in force: %+v", list)
	}
	now = now.Add(time.Minute)
	list = declare(list, 5*time.Minute, now)
	if got := lastExpiry(list, time.Time{}, now).Sub(now); got != 24*time.Hour {
		t.Errorf("just lowered: the last token expires in %s", got)
	}
	now = now.Add(time.Hour)
	if got := lastExpiry(list, time.Time{}, now).Sub(now); got != 23*time.Hour+9*time.Minute {
		t.Errorf("an hour later: the last token expires in %s", got)
	}
	list = declare(list, 5*time.Minute, now)
	if got := lastExpiry(list, now, now).Sub(now); got != 5*time.Minute {
		t.Errorf("of those minted from now on: in %s", got)
	}
	now = now.Add(25 * time.Hour)
	if list = declare(list, 5*time.Minute, now); len(list) != 1 {
		t.Errorf("a day later: %+v", list)
	}
	if got := lastExpiry(list, time.Time{}, now).Sub(now); got != 5*time.Minute {
		t.Errorf("a day later: the last token expires in %s", got)
	}
}

// What is longer than all that others give is given a little later, and what is being
// given goes on meanwhile.
func TestARaisedLifetimeWaits(t *testing.T) {
	now := time.Unix(1795310000, 0)
	list := declare(nil, 5*time.Minute, now)
	list = declare(list, time.Hour, now)
	if got := given(list, now); got != 5*time.Minute {
		t.Errorf("at once: %s", got)
	}
	list = declare(list, time.Hour, now.Add(10*time.Second)) // another issuer
	if got := given(list, now.Add(raiseAfter)); got != time.Hour {
		t.Errorf("after %s: %s", raiseAfter, got)
	}
	if got := given(list, now.Add(raiseAfter-time.Second)); got != 5*time.Minute {
		t.Errorf("before: %s", got)
	}
}

// However often the lifetime is lowered, the ledger stays small and says enough.
func TestTheLedgerIsBounded(t *testing.T) {
	now := time.Unix(1795310000, 0)
	var list []events.Lifetime
	var last time.Time
	for i := range 100 {
		ttl := 24*time.Hour - time.Duration(i)*time.Minute
		now = now.Add(time.Second)
		list = declare(list, ttl, now)
		last = later(last, now.Add(min(ttl, given(list, now))))
		if len(list) > maxLifetimes || lastExpiry(list, time.Time{}, now).Before(last) {
			t.Fatalf("after %d: %d lifetimes, the last expires %s too late", i, len(list), last.Sub(lastExpiry(list, time.Time{}, now)))
		}
	}
}
