package fsck

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// Store is what the sidecar has on disk ([denylist.Store]).
type Store interface {
	Load() iter.Seq2[denylist.Batch, error]
	Find(kind events.Kind, issuer events.Issuer, target string) ([]events.Revocation, error)
}

// Feed reads the feed between two sequences; the second is zero for its end. It ends
// with an error if the feed has nothing as late as that.
type Feed interface {
	Read(ctx context.Context, from, to uint64) iter.Seq2[replica.Batch, error]
}

// Lookups is the denylist at work, which must know what the store holds.
type Lookups interface {
	Knows(r *events.Revocation, now time.Time) bool
	Status() denylist.Status
}

// Parts are what is compared.
type Parts struct {
	Store Store
	Feed  Feed
	// Lookups is nil for a sidecar that does not run.
	Lookups Lookups
	// VerifyLift says whether a lift bears the realm root's signature.
	VerifyLift func(events.Lift) bool
}

// Progress says what is being read.
type Progress struct {
	// Round counts from 1. Side is "store" or "feed", Read how many of its entries or
	// events have been read in this round.
	Round int    `json:"round"`
	Side  string `json:"side"`
	Read  int    `json:"read"`
}

const (
	// bucketBits makes 12 MiB of sums. At ten million entries each sums up ten.
	bucketBits = 20
	// maxSuspects is about how many entries are looked at one by one in a round: 15 MB.
	maxSuspects = 200_000
)

// check is one comparison under way.
type check struct {
	Parts
	progress func(Progress)
	began    time.Time
	tally    *tally
	report   Report

	// Of the store as it was first read, and of lifts as they are now.
	cursor denylist.Cursor
	lifted map[lift]time.Time
	// beat is where the newest heartbeat lies.
	beat uint64
	// unknown are entries that the index did not find at first sight.
	unknown []events.Revocation
}

// lift names what was lifted.
type lift struct {
	kind   events.Kind
	issuer events.Issuer
	target string
	id     events.RevocationID
}

// Run compares. progress, if not nil, is told now and then. The error says that the
// sides could not be compared.
func Run(ctx context.Context, p Parts, progress func(Progress)) (Report, error) {
	return run(ctx, p, progress, bucketBits, maxSuspects)
}

func run(ctx context.Context, p Parts, progress func(Progress), bits, most int) (Report, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	c := &check{Parts: p, progress: progress, began: time.Now(), tally: newTally(bits)}
	if err := c.first(ctx); err != nil {
		return Report{}, err
	}
	// A bucket of the fuller side holds so many, on average.
	density := 1 + max(total(c.report.Store.Entries), total(c.report.Feed.Entries))>>bits
	for _, part := range c.tally.suspects(max(1, most/density)) {
		if err := c.again(ctx, part); err != nil {
			return Report{}, err
		}
	}
	if err := c.settleIndex(); err != nil {
		return Report{}, err
	}
	c.report.TookSeconds = time.Since(c.began).Seconds()
	c.report.conclude()
	return c.report, nil
}

func total(entries map[string]int) (n int) {
	for _, m := range entries {
		n += m
	}
	return n
}

// first sums up both sides.
func (c *check) first(ctx context.Context) error {
	r := &c.report
	r.Rounds = 1
	r.Index.Checked = c.Lookups != nil && c.Lookups.Status().Complete
	err := c.load(ctx, func(e *events.Revocation) {
		switch {
		case denylist.Expired(e.Until, c.began):
			r.Store.Expired++
			r.OnlyInStore.Expired++
			return
		case c.isLifted(e):
			r.StillThere.add(e)
			return
		}
		r.Store.count(e.Kind)
		c.tally.add(c.tally.hash(e))
		if r.Index.Checked {
			r.Index.Entries++
			c.lookUp(e)
		}
	})
	if err != nil {
		return err
	}
	r.Store.Epoch, r.Store.Position, r.Store.FreshAsOf = c.cursor.Epoch, c.cursor.Sequence, c.cursor.FreshAsOf
	r.Store.Lifts = len(c.lifted)

	// That the server has all that the store knows can be told only by its having
	// something as late.
	if at := c.cursor.Sequence; at > 0 {
		for _, err := range c.Feed.Read(ctx, at, at) {
			if err != nil {
				return fmt.Errorf("reading the feed at the store's position: %w", err)
			}
		}
	}
	err = c.read(ctx, c.cursor.Sequence+1, 0, func(e *events.Revocation) {
		r.Feed.count(e.Kind)
		r.Behind++
	}, ignore)
	if err != nil {
		return err
	}
	if c.cursor.Sequence == 0 {
		return nil
	}
	err = c.read(ctx, 1, c.cursor.Sequence, func(e *events.Revocation) {
		r.Feed.count(e.Kind)
		if c.isLifted(e) {
			r.Lifted++
			return
		}
		c.tally.remove(c.tally.hash(e))
	}, c.checkLift)
	if r.SameEpoch = r.Store.Epoch == r.Feed.Epoch && r.Store.Epoch != ""; !r.SameEpoch {
		r.MissingLifts = Named{} // the store has not come to this feed yet
	}
	return err
}

func ignore(events.Lift) {}

// load reads the store. The cursor is that of its first reading, lifts are the latest.
func (c *check) load(ctx context.Context, entry func(*events.Revocation)) error {
	read, batches := 0, 0
	for b, err := range c.Store.Load() {
		if err != nil {
			return fmt.Errorf("reading the store: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if batches++; batches == 1 {
			c.take(b)
		}
		for i := range b.Entries {
			entry(&b.Entries[i])
		}
		read += len(b.Entries)
		c.progress(Progress{c.report.Rounds, "store", read})
	}
	return nil
}

// take keeps what the store's first batch says of the whole.
func (c *check) take(b denylist.Batch) {
	if c.report.Rounds == 1 {
		c.cursor = b.Cursor
	}
	c.lifted = make(map[lift]time.Time, len(b.Lifted))
	for _, l := range b.Lifted {
		c.lifted[lift{l.Kind, l.Issuer, l.Target, l.RevocationID}] = l.Until
	}
}

func (c *check) isLifted(r *events.Revocation) bool {
	if len(c.lifted) == 0 {
		return false
	}
	_, is := c.lifted[lift{r.Kind, r.Issuer, r.Target, r.ID}]
	return is
}

// read gives the feed's entries that still deny, in the store's form, and its lifts.
func (c *check) read(ctx context.Context, from, to uint64, entry func(*events.Revocation), lifted func(events.Lift)) error {
	read, side := 0, &c.report.Feed
	first := c.report.Rounds == 1
	for b, err := range c.Feed.Read(ctx, from, to) {
		if err != nil {
			return fmt.Errorf("reading the feed: %w", err)
		}
		for _, e := range b.Events {
			switch e := e.(type) { //nolint:gochecksumtype // only these two are kept on disk
			case events.Revoked:
				r, err := denylist.Canonical(e.Revocation)
				switch {
				case err != nil && first:
					side.Unreadable++
				case err != nil:
				case !denylist.Expired(r.Until, c.began):
					entry(&r)
				case first:
					side.Expired++
				}
			case events.Lifted:
				lifted(e.Lift)
			case events.Heartbeat:
				// A feed that was restored holds those of its earlier life as well, and
				// of the two stretches of a round the later may come first.
				if b.Last >= c.beat {
					c.beat, side.Epoch = b.Last, e.Epoch
				}
			case nil:
				if first {
					side.Unreadable++
				}
			}
		}
		side.Position = max(side.Position, b.Last)
		read += len(b.Events)
		c.progress(Progress{c.report.Rounds, "feed", read})
	}
	return nil
}

// checkLift holds a lift of the feed against those of the store.
func (c *check) checkLift(l events.Lift) {
	side := &c.report.Feed
	if c.VerifyLift == nil || !c.VerifyLift(l) {
		side.Unsigned++
		return
	}
	side.Lifts++
	as := events.Revocation{ID: l.RevocationID, Kind: l.Kind, Issuer: l.Issuer, Target: l.Target, Until: l.Until}
	if !c.isLifted(&as) && !denylist.Expired(l.Until, c.began) {
		c.report.MissingLifts.add(&as)
	}
}
