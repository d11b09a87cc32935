package race

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
)

// What has happened to a target so far. Between two of them anything may be seen.
const (
	untouched = iota
	applying
	applied
	lifting
	lifted
)

// target is what one round revokes.
type target struct {
	entry events.Revocation
	// victim is denied by the entry; later is the same, logged in after its cut,
	// and nil if the entry has none.
	victim, later *denylist.Token
	// sequence is what the feed's cursor shows once the entry counts.
	sequence uint64
	state    atomic.Int32
	seen     atomic.Int32 // look-ups that have ended
}

// arena is one list with its readers and what they saw.
type arena struct {
	*denylist.Denylist
	targets []*target
	round   atomic.Int64
	clock   atomic.Int64 // Unix seconds, the time of all look-ups
	done    atomic.Bool

	lookups, denied, passed, during atomic.Int64
}

// INV-2, INV-3: readers look one target up without pause while it is revoked, and
// earlier ones while they expire or are lifted. Beside them the index grows from
// nothing and a slow disk writes behind.
func TestAppliedIsNeverAllowed(t *testing.T) {
	rounds := size(300, 10_000)
	d, err := denylist.New(denylist.Config{Confirmed: 64}, slowDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	write(t, d)
	a := &arena{Denylist: d, targets: make([]*target, rounds)}
	a.clock.Store(denylisttest.Now().Unix())
	for i := range a.targets {
		a.targets[i] = a.target(i)
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() { a.read(t) })
	}
	lifts, growths := 0, 0
	for i, next := range a.targets {
		a.round.Store(int64(i))
		for next.seen.Load() < 2 && !t.Failed() {
			runtime.Gosched() // until someone looks at it
		}
		before := d.Status().IndexBytes
		a.apply(t, next)
		if d.Status().IndexBytes > before {
			growths++
		}
		if i%3 == 2 {
			a.lift(t, a.targets[rand.IntN(i+1)])
			lifts++
		}
		if i%7 == 0 {
			a.clock.Add(1)
		}
		if i%20 == 0 {
			d.Expire(time.Unix(a.clock.Load(), 0))
		}
		if t.Failed() {
			break
		}
	}
	a.done.Store(true)
	readers.Wait()
	t.Logf("%d rounds: %d look-ups, %d of them denied, %d passed, %d while their entry was applied; %d lifts, the index grew %d times",
		rounds, a.lookups.Load(), a.denied.Load(), a.passed.Load(), a.during.Load(), lifts, growths)
	if a.during.Load() == 0 || growths == 0 {
		t.Error("nothing raced")
	}
}

// target makes that of round i: kinds take turns, and every fifth entry lives only
// for a second or two.
func (a *arena) target(i int) *target {
	kind := events.Kinds()[i%len(events.Kinds())]
	token := denylist.Token{
		Issuer: "https://id.example", ID: events.TokenID(fmt.Sprint("t", i)), Session: events.SessionID(fmt.Sprint("s", i)),
		Subject: events.Subject(fmt.Sprint("u", i)), Client: events.ClientID(fmt.Sprint("c", i)), Key: events.KeyID(fmt.Sprint("k", i)),
		SessionAt: events.Position{Sequence: 10}, MintedAt: events.Position{Sequence: 11},
	}
	if kind == events.KindAll {
		token.Issuer = events.Issuer(fmt.Sprintf("https://id-%d.example", i))
	}
	names := map[events.Kind]string{
		events.KindToken: string(token.ID), events.KindSession: string(token.Session), events.KindSubject: string(token.Subject),
		events.KindClient: string(token.Client), events.KindKey: string(token.Key), events.KindAll: "",
	}
	n := &target{sequence: uint64(i) + 1, entry: events.Revocation{
		ID: denylisttest.RevocationID(i), Kind: kind, Issuer: token.Issuer, Target: names[kind], Reason: events.ReasonAdmin,
	}}
	lives := time.Hour
	if i%5 == 0 {
		lives = time.Second
	}
	// By the clock that this round will find.
	n.entry.Until = time.Unix(a.clock.Load()+int64(i+6)/7, 0).Add(lives)
	victim := token
	a.Prepare(&victim)
	n.victim = &victim
	if kind.Wide() {
		n.entry.Cut = events.Position{Sequence: 20}
		token.SessionAt, token.MintedAt = events.Position{Sequence: 21}, events.Position{Sequence: 22}
		a.Prepare(&token)
		n.later = &token
	}
	return n
}

// apply revokes the target amid others that nobody asks for, or the index would
// never grow.
func (a *arena) apply(t *testing.T, n *target) {
	b := denylist.Batch{Entries: []events.Revocation{n.entry}, Cursor: denylist.Cursor{Epoch: "e", Sequence: n.sequence}}
	for i := range rand.IntN(60) {
		other := denylisttest.Session(i, fmt.Sprint("filler ", n.sequence, i))
		other.Until = n.entry.Until
		b.Entries = append(b.Entries, other)
	}
	rand.Shuffle(len(b.Entries), func(i, j int) { b.Entries[i], b.Entries[j] = b.Entries[j], b.Entries[i] })
	n.state.Store(applying)
	if err := a.Apply(b); err != nil {
		t.Errorf("applying: %v", err)
	}
	n.state.Store(applied)
}

// lift takes the target back, and delivers its entry once more: that must not count.
func (a *arena) lift(t *testing.T, n *target) {
	n.state.Store(lifting)
	lift := denylist.Batch{Lifted: []events.Lift{denylisttest.Lift(n.entry)}}
	lift.Lifted[0].Until = n.entry.Until
	for _, b := range []denylist.Batch{lift, {Entries: []events.Revocation{n.entry}}} {
		if err := a.Apply(b); err != nil {
			t.Errorf("lifting: %v", err)
		}
	}
	n.state.Store(lifted)
}

// read looks up: mostly what is being revoked now.
func (a *arena) read(t *testing.T) {
	for !a.done.Load() && !t.Failed() {
		i := a.round.Load()
		if rand.IntN(3) == 0 {
			i = rand.Int64N(i + 1)
		}
		n := a.targets[i]
		before, clock := n.state.Load(), a.clock.Load()
		received := rand.IntN(16) == 0 && a.Status().Cursor.Sequence >= n.sequence
		f, err := a.Lookup(t.Context(), n.victim, time.Unix(clock, 0))
		after, late := n.state.Load(), time.Unix(a.clock.Load(), 0)
		n.seen.Add(1)
		a.lookups.Add(1)
		if f.Denied {
			a.denied.Add(1)
		} else {
			a.passed.Add(1)
		}
		if before < applied && after > untouched {
			a.during.Add(1)
		}
		standing := (before == applied || received) && after <= applied && !late.After(n.entry.Until)
		gone := after == untouched || before == lifted || time.Unix(clock, 0).After(n.entry.Until)
		switch {
		case err != nil:
			t.Errorf("round %d, a %s: %v", i, n.entry.Kind, err)
		case standing && !f.Denied:
			t.Errorf("round %d, a %s: applied and allowed (state %d, then %d; receipt %t)", i, n.entry.Kind, before, after, received)
		case gone && f.Denied:
			t.Errorf("round %d, a %s: denied by %+v (state %d, then %d)", i, n.entry.Kind, f.Revocation, before, after)
		}
		if n.later == nil {
			continue
		}
		if f, err := a.Lookup(t.Context(), n.later, time.Unix(clock, 0)); err != nil || f.Denied {
			t.Errorf("round %d, a %s: who logged in after the cut: %+v, %v", i, n.entry.Kind, f, err)
		}
	}
}
