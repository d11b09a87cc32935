package issue

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// maxLooked bounds how many feed entries one page looks at.
const maxLooked = 20_000

// Query asks for revocations.
type Query struct {
	// Kind, if known, and Target, if not empty, are the only ones wanted.
	Kind   events.Kind
	Target string
	// After is the feed sequence to go on from: zero, or [Page.Next].
	After uint64
	// Limit is how many revocations a page has at most.
	Limit int
}

// Standing is one announcement of a revocation. One that was announced again stands
// there twice.
type Standing struct {
	events.Revocation
	// Sequence is its place in the feed, At when it was stored there.
	Sequence uint64
	At       time.Time
	// Lifted says that it denies nothing any more.
	Lifted bool
}

// Page is a part of what stands on the feed.
type Page struct {
	Revocations []Standing
	// Next is where the next page begins; zero if there is none. A page may be
	// empty and have a next one: it looks at no more than so much.
	Next uint64
}

// Revocations lists what stands on the feed and has not expired, oldest first, as one
// replica knows it, which may lag.
func (s *Service) Revocations(ctx context.Context, q Query) (Page, error) {
	lifted, err := s.liftedNow(ctx)
	if err != nil {
		return Page{}, fmt.Errorf("listing revocations: %w", err)
	}
	every := strings.TrimSuffix(s.cfg.Realm.Feed(), ">")
	wanted := every + "*.*"
	if q.Kind != events.KindUnknown {
		wanted = every + q.Kind.String() + ".*"
	}
	now := s.now()
	var page Page
	looked := 0
	for r, err := range s.entries.Entries(ctx, q.After, time.Time{}, wanted) {
		if err != nil {
			return Page{}, fmt.Errorf("listing revocations: %w", err)
		}
		e, ok := r.Envelope.Event.(events.Revoked)
		if ok && now.Before(e.Revocation.Until) && (q.Target == "" || q.Target == e.Revocation.Target) {
			if len(page.Revocations) == q.Limit {
				page.Next = page.Revocations[q.Limit-1].Sequence
				break
			}
			page.Revocations = append(page.Revocations, Standing{
				Revocation: e.Revocation, Sequence: r.Position.Sequence, At: r.Time, Lifted: lifted[nameOf(e.Revocation)],
			})
		}
		if looked++; looked == maxLooked {
			page.Next = r.Position.Sequence
			break
		}
	}
	return page, nil
}

// liftable names a revocation as lifts do.
type liftable struct {
	id     events.RevocationID
	kind   events.Kind
	issuer events.Issuer
	target string
}

func nameOf(r events.Revocation) liftable { return liftable{r.ID, r.Kind, r.Issuer, r.Target} }

// liftedNow is what sidecars take for lifted: what the realm's root has signed.
func (s *Service) liftedNow(ctx context.Context) (map[liftable]bool, error) {
	root, ok := s.root.Root().Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("reading lifts: %w: no root key", events.ErrUnavailable)
	}
	all := map[liftable]bool{}
	for r, err := range s.entries.Entries(ctx, 0, time.Time{}, strings.TrimSuffix(s.cfg.Realm.Feed(), ">")+"lift.*") {
		if err != nil {
			return nil, err
		}
		if e, ok := r.Envelope.Event.(events.Lifted); ok && codec.VerifyLift(root, s.cfg.Realm, e.Lift) {
			all[liftable{e.Lift.RevocationID, e.Lift.Kind, e.Lift.Issuer, e.Lift.Target}] = true
		}
	}
	return all, nil
}
