package session_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/session"
)

// cuts is the record of one user's revocations, beside everything that was ever
// revoked and not lifted.
type cuts struct {
	standing events.CutsRecorded
	existing bool
	now      time.Time
	sequence uint64
	sessions map[events.SessionID]events.Position
	all      []events.Revocation
}

func revocationID(version, n int) events.RevocationID {
	return events.RevocationID(fmt.Sprintf("01935f6a-0c00-%d000-8000-%012d", version, n))
}

func (c *cuts) add(r events.Revocation) {
	cut := session.Cut{Revocation: r, Began: c.sessions, Keep: c.now.Add(time.Hour)}
	c.standing = session.AddCut(c.standing, c.existing, cut, c.now)
	c.existing = true
	c.all = append(c.all, r)
}

// lift does what a lift does, if the record lets it.
func (c *cuts) lift(i int) {
	r := c.all[i]
	recorded := slices.IndexFunc(c.standing.Cuts, func(s events.Revocation) bool { return s.ID == r.ID })
	if c.now.After(r.Until) || recorded >= 0 && !session.Liftable(c.standing.Cuts[recorded], c.now) {
		return
	}
	c.standing = session.LiftCut(c.standing, c.existing, r.ID, r.Until.Add(time.Minute), c.now)
	c.existing = true
	c.all = slices.Delete(c.all, i, i+1)
}

// What AddCut drops, the rest still denies, whatever is lifted: compare with keeping
// every revocation that was not.
func TestAddCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cuts{now: noon, sequence: 10, sessions: map[events.SessionID]events.Position{}}
		deadline := time.Time{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			c.sequence++
			ids := slices.Sorted(maps.Keys(c.sessions))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1:
				c.sessions[events.SessionID(fmt.Sprint("s", i))] = events.Position{Sequence: c.sequence}
			case 2:
				if len(ids) > 0 { // its last record expires
					delete(c.sessions, rapid.SampledFrom(ids).Draw(t, "gone"))
				}
			case 3:
				c.now = c.now.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "passes")) * time.Second)
			case 4, 5:
				if len(c.all) > 0 {
					c.lift(rapid.IntRange(0, len(c.all)-1).Draw(t, "lifted"))
				}
			default:
				c.add(events.Revocation{
					ID:   revocationID(rapid.SampledFrom([]int{7, 7, 7, 8}).Draw(t, "version"), i),
					Kind: events.KindSubject, Issuer: "https://id.example", Target: "u-7",
					Scope:  rapid.SampledFrom([]events.Scope{events.ScopeSessions, events.ScopeSessions, events.ScopeAccessTokens}).Draw(t, "scope"),
					Cut:    events.Position{Sequence: c.sequence - rapid.Uint64Range(0, 5).Draw(t, "late")},
					Except: rapid.SampledFrom(append(ids, "")).Draw(t, "except"),
					Until:  c.now.Add(time.Duration(rapid.IntRange(1, 6).Draw(t, "minutes")) * time.Minute),
				})
			}
			if !c.standing.Deadline.IsZero() && c.standing.Deadline.Before(deadline) {
				t.Fatalf("a record that expires at %v follows one that expires at %v", c.standing.Deadline, deadline)
			}
			deadline = c.standing.Deadline
			c.compare(t)
		}
	})
}

func (c *cuts) compare(t *rapid.T) {
	kept := session.State{Cuts: c.standing.Cuts}
	every := session.State{Cuts: c.all}
	unexpired := slices.DeleteFunc(slices.Clone(c.all), func(r events.Revocation) bool {
		return r.Scope == events.ScopeAccessTokens && c.now.After(r.Until)
	})
	for id, began := range c.sessions {
		n := begin()
		n.ID, n.Began = id, began
		kept.Session, every.Session = n, n
		if kept.Over() != every.Over() {
			t.Fatalf("session %s begun at %v: over is %v, with every revocation kept %v", id, began, kept.Over(), every.Over())
		}
		for minted := began.Sequence; minted <= c.sequence; minted++ {
			f := events.Facts{
				Issuer: n.Issuer, Session: id, Subject: n.Subject,
				SessionAt: began, MintedAt: events.Position{Sequence: minted},
			}
			denies := func(r events.Revocation) bool { return r.Denies(&f) }
			is := slices.ContainsFunc(c.standing.Cuts, denies)
			if slices.ContainsFunc(unexpired, denies) && !is || is && !slices.ContainsFunc(c.all, denies) {
				t.Fatalf("a token of %s minted at %d: denied is %v", id, minted, is)
			}
		}
	}
}

// INV-5: what a revocation has swallowed stays denied: it cannot be lifted any more.
func TestTheRecordIsBounded(t *testing.T) {
	c := &cuts{now: noon, sessions: map[events.SessionID]events.Position{"old": {Sequence: 1}}}
	for i := range 1000 {
		c.add(events.Revocation{
			ID: revocationID(7, i), Kind: events.KindSubject, Issuer: "https://id.example", Target: "u-7",
			Cut: events.Position{Sequence: uint64(i + 1)}, Until: c.now.Add(time.Hour),
		})
		if len(c.standing.Cuts) > 128 {
			t.Fatalf("%d revocations are remembered", len(c.standing.Cuts))
		}
	}
	for len(c.all) > 1 && len(c.standing.Lifted) < 1000 {
		before := len(c.all)
		for i := range slices.Backward(c.all) {
			c.lift(i)
		}
		if len(c.all) == before {
			break
		}
	}
	n := begin()
	n.ID, n.Began = "old", events.Position{Sequence: 1}
	if s := (session.State{Session: n, Cuts: c.standing.Cuts}); !s.Over() {
		t.Errorf("with %d revocations not lifted, the session lives", len(c.all))
	}
}

// A revocation whose id the caller chose is known for a day, though another one
// denies the same; one of ours only while it could be lifted.
func TestNamedRevocationsAreRemembered(t *testing.T) {
	for version, hours := range map[int]float64{7: 0, 8: 24} {
		c := &cuts{now: noon, sessions: map[events.SessionID]events.Position{}}
		add := func(version, n int) {
			c.sequence++
			c.add(events.Revocation{
				ID: revocationID(version, n), Kind: events.KindSubject, Issuer: "https://id.example", Target: "u-7",
				Cut: events.Position{Sequence: c.sequence}, Until: c.now.Add(6 * time.Minute),
			})
		}
		known := func() bool {
			return slices.ContainsFunc(c.standing.Cuts, func(r events.Revocation) bool { return r.ID == revocationID(version, 1) })
		}
		add(version, 1)
		add(7, 2)
		for n := 3; known(); n++ {
			c.now = c.now.Add(time.Hour)
			add(7, n)
		}
		if got := c.now.Sub(noon).Hours(); got < hours || got > hours+2 {
			t.Errorf("version %d: forgotten after %v hours", version, got)
		}
	}
}

// What was lifted stays so while anything could bring it again.
func TestLiftedIsNotRecordedAgain(t *testing.T) {
	c := &cuts{now: noon}
	r := events.Revocation{ID: revocationID(7, 1), Kind: events.KindToken, Issuer: "https://id.example", Target: "j", Until: noon.Add(time.Minute)}
	c.add(r)
	c.lift(0)
	if len(c.standing.Cuts) != 0 || !session.Lifted(c.standing, r.ID) || !session.Covered(c.standing, r, noon) {
		t.Errorf("after the lift: %+v", c.standing)
	}
	other := r
	other.ID = revocationID(7, 2)
	if session.Covered(c.standing, other, noon) {
		t.Error("another revocation of the same token counts as lifted")
	}
	c.now = noon.Add(3 * time.Minute)
	c.add(other)
	if session.Lifted(c.standing, r.ID) {
		t.Error("the lift is remembered for ever")
	}
}
