package issue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/events"
)

const (
	// leaseFor is how long a declared lifetime may be given; it is declared again
	// when half of that is over.
	leaseFor = 10 * time.Minute
	// raiseAfter is how long after its declaration a lifetime is given that is longer
	// than all before it: whoever revokes reads the ledger, announces and records
	// within less, each of which gives up after eight seconds, by whatever clocks.
	raiseAfter = 30 * time.Second
	// ledgerFor is how old a reading of the ledger may be that says how long a token
	// may live which exists already; far less than raiseAfter.
	ledgerFor = 10 * time.Second
	// maxLifetimes bounds the ledger; what is beyond is rounded up to another's.
	maxLifetimes = 32
)

// lifetimes is the ledger of how long access tokens live, as this issuer knows it
// (ADR-0012). Issuers declare in the journal for how long they give which lifetime,
// and give none without. So whoever revokes knows when the last token expires,
// whatever the other issuers are configured to give, or were an hour ago.
type lifetimes struct {
	declaring sync.Mutex // one declaration at a time
	known     atomic.Pointer[ledger]
}

// ledger is one reading.
type ledger struct {
	list []events.Lifetime
	// at is no later than the moment at which this was all there was.
	at time.Time
}

func (l *ledger) entries() []events.Lifetime {
	if l == nil {
		return nil
	}
	return l.list
}

// Declare sees to it that what this issuer's configuration gives is in the ledger
// for a while to come. Mostly it is, and then this costs nothing: it is to be called
// about every second.
func (s *Service) Declare(ctx context.Context) error {
	if s.declared() {
		return nil
	}
	s.lifetimes.declaring.Lock()
	defer s.lifetimes.declaring.Unlock()
	if s.declared() {
		return nil
	}
	place := s.cfg.Realm.Lifetimes()
	atLeast := events.Position{}
	for range maxAttempts {
		at := s.now()
		records, err := s.journal.Load(ctx, atLeast, place, s.cfg.Realm.Barrier())
		if err != nil {
			return fmt.Errorf("declaring lifetimes: %w", err)
		}
		last := lastOf(records, place)
		standing, err := lifetimesOf(last.Envelope.Event)
		if err != nil {
			return fmt.Errorf("declaring lifetimes: %w", err)
		}
		ttl := s.cfg.MaxAccessTTL()
		if leased(standing, ttl, at.Add(leaseFor/2)) {
			// Another issuer's will do: what is declared stays until it has run out,
			// so it makes no difference how old this reading is.
			s.lifetimes.known.Store(&ledger{list: standing})
			return nil
		}
		next := declare(standing, ttl, at)
		_, err = s.journal.Append(ctx, events.Append{
			Subject: place, Envelope: envelope(at, events.LifetimesDeclared{Lifetimes: next}), After: last.Position.Sequence,
		})
		if err == nil {
			s.lifetimes.known.Store(&ledger{list: next, at: at})
			return nil
		}
		if !errors.Is(err, events.ErrConflict) {
			return fmt.Errorf("declaring lifetimes: %w", err)
		}
		if atLeast, err = s.barrier(ctx); err != nil {
			return fmt.Errorf("declaring lifetimes: %w", err)
		}
	}
	return fmt.Errorf("declaring lifetimes: %w: %d conflicts", events.ErrUnavailable, maxAttempts)
}

func (s *Service) declared() bool {
	return leased(s.lifetimes.known.Load().entries(), s.cfg.MaxAccessTTL(), s.now().Add(leaseFor/2))
}

// lifetime is how long an access token lives that is to live for wanted: less while a
// longer lifetime has just been declared. Without any, nothing may be minted.
func (s *Service) lifetime(ctx context.Context, wanted time.Duration) (time.Duration, error) {
	if given := given(s.lifetimes.known.Load().entries(), s.now()); wanted <= given {
		return wanted, nil
	}
	if err := s.Declare(ctx); err != nil {
		return 0, err
	}
	given := given(s.lifetimes.known.Load().entries(), s.now())
	if given == 0 {
		return 0, fmt.Errorf("%w: no lifetime of access tokens is declared", events.ErrUnavailable)
	}
	return min(wanted, given), nil
}

// outlives reports whether a token minted now would outlive what the ledger says. A
// replay repeats the expiry that another issuer's clock gave, which may be ahead of
// this one by what both may be off; whoever revokes reckons with that.
func (s *Service) outlives(expires time.Time) bool {
	now := s.now()
	return expires.After(now.Add(given(s.lifetimes.known.Load().entries(), now) + 2*events.MaxSkew))
}

// recentLifetimes is the ledger as of now, for what exists already.
func (s *Service) recentLifetimes(ctx context.Context) ([]events.Lifetime, error) {
	if err := s.Declare(ctx); err != nil {
		return nil, err
	}
	at := s.now()
	if l := s.lifetimes.known.Load(); at.Sub(l.at) <= ledgerFor {
		return l.list, nil
	}
	place := s.cfg.Realm.Lifetimes()
	records, err := s.recordsBehindBarrier(ctx, place)
	if err != nil {
		return nil, err
	}
	list, err := lifetimesOf(lastOf(records, place).Envelope.Event)
	if err != nil {
		return nil, err
	}
	s.lifetimes.known.Store(&ledger{list: list, at: at})
	return list, nil
}

// lifetimesOf gives what an event declares; nothing at all declares nothing.
func lifetimesOf(e events.Event) ([]events.Lifetime, error) {
	switch e := e.(type) { //nolint:gochecksumtype // any other event is no ledger
	case nil:
		return nil, nil
	case events.LifetimesDeclared:
		return e.Lifetimes, nil
	}
	return nil, fmt.Errorf("reading the ledger of lifetimes: %w: unexpected %T", events.ErrUnavailable, e)
}

// leased reports whether ttl may be given up to the moment, or will be soon.
func leased(list []events.Lifetime, ttl time.Duration, until time.Time) bool {
	return slices.ContainsFunc(list, func(l events.Lifetime) bool { return l.TTL >= ttl && !l.Seen.Before(until) })
}

// given is the longest lifetime that may be given at a moment; zero for none.
func given(list []events.Lifetime, at time.Time) (longest time.Duration) {
	for _, l := range list {
		if !at.Before(l.Since) && !at.After(l.Seen) {
			longest = max(longest, l.TTL)
		}
	}
	return longest
}

// lastExpiry is when the last token expires of all that were begun by a moment under
// what was in force at some time after since. Without any it is the zero time.
func lastExpiry(list []events.Lifetime, since, by time.Time) (last time.Time) {
	for _, l := range list {
		if l.Seen.Before(since) {
			continue
		}
		begun := by
		if l.Seen.Before(by) {
			begun = l.Seen
		}
		last = later(last, begun.Add(l.TTL))
	}
	return last
}

// TokensLast is for how long at most a token may still be accepted that exists now, by
// this issuer's configuration and as it last read the ledger: a longer lifetime that
// another issuer gives shows some minutes later.
func (s *Service) TokensLast() time.Duration {
	now := s.now()
	known := lastExpiry(s.lifetimes.known.Load().entries(), time.Time{}, now)
	return untilAfter(later(now.Add(s.cfg.MaxAccessTTL()), known)).Sub(now)
}

// declare adds to a ledger that ttl is given for a lease, from now on or, if others
// are giving less, from a little later. What has run out is dropped, and what another
// entry says as well.
func declare(standing []events.Lifetime, ttl time.Duration, now time.Time) []events.Lifetime {
	add := events.Lifetime{TTL: ttl, Seen: now.Add(leaseFor)}
	if slices.ContainsFunc(standing, func(l events.Lifetime) bool { return !now.After(l.Seen) }) && given(standing, now) < ttl {
		add.Since = now.Add(raiseAfter)
	}
	all := []events.Lifetime{add}
	for _, l := range standing {
		if now.After(l.Seen.Add(l.TTL + underWay + events.MaxLeeway + 2*events.MaxSkew)) {
			continue
		}
		if l.TTL == ttl && !now.After(l.Seen) {
			// The same again. It may have been given, or be about to, for longer.
			add.Since, add.Seen = earlier(add.Since, l.Since), later(add.Seen, l.Seen)
			all[0] = add
			continue
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b events.Lifetime) int {
		return cmp.Or(cmp.Compare(b.TTL, a.TTL), b.Seen.Compare(a.Seen))
	})
	var kept []events.Lifetime
	for _, l := range all {
		if !slices.ContainsFunc(kept, func(k events.Lifetime) bool {
			return !k.Seen.Before(l.Seen) && (!k.Since.After(l.Since) || !k.Since.After(now))
		}) {
			kept = append(kept, l)
		}
	}
	for len(kept) > maxLifetimes {
		// The two longest, as if the longest had been given as long as the next.
		kept[1].TTL, kept[1].Seen = kept[0].TTL, later(kept[0].Seen, kept[1].Seen)
		kept[1].Since = later(kept[0].Since, kept[1].Since)
		kept = kept[1:]
	}
	return kept
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
