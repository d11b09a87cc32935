package session

import (
	"slices"
	"time"

	"github.com/revocast/revocast/events"
)

const (
	// maxStanding is how many revocations of one target are remembered each for
	// itself, though a later one denies all that they do.
	maxStanding = 128
	// NamedFor is how much longer a wide revocation is remembered whose id its
	// caller chose: for so long asking for it again does nothing.
	NamedFor = 24 * time.Hour
)

// Cut is a revocation about to be recorded.
type Cut struct {
	events.Revocation
	// Began is where the sessions began that this revocation and the standing ones
	// except. One that is missing there is gone for good.
	Began map[events.SessionID]events.Position
	// Keep is how long it must be remembered; zero for ever.
	Keep time.Time
}

// Named reports whether the caller chose the id of a revocation. Those that
// Revocast draws are of version 7 (RFC 9562).
func Named(id events.RevocationID) bool { return len(id) == 36 && id[14] != '7' }

// AddCut gives the record of standing revocations with n added. existing says
// whether standing was read from the log, so that its deadline counts.
//
// What no longer denies anything is dropped, and what another one covers entirely
// that cannot be lifted any more. While it could be, what it covers must stay: a
// lift takes one revocation back and no other. Beyond maxStanding n itself swallows
// what it covers, and for that can never be lifted: its Until in the record is past.
func AddCut(standing events.CutsRecorded, existing bool, n Cut, now time.Time) events.CutsRecorded {
	next := events.CutsRecorded{Deadline: n.Keep, Lifted: stillLifted(standing.Lifted, now)}
	full := len(standing.Cuts) >= maxStanding
	for i, c := range standing.Cuts {
		swallowed := full && n.covers(n.Revocation, c)
		droppable := full || !remembered(c, now)
		if swallowed || droppable && (ended(c, now) || n.redundant(standing.Cuts, i, now)) {
			continue
		}
		next.Cuts = append(next.Cuts, c)
	}
	if full && lasting(n.Revocation) {
		n.Until = now.Add(-time.Second) // the log keeps seconds, rounded up
	}
	next.Cuts = append(next.Cuts, n.Revocation)
	if existing {
		next.Deadline = notBefore(standing.Deadline, n.Keep)
	}
	return next
}

// LiftCut gives the record of standing revocations without the one called id, and
// with the memory, until then, that it was lifted.
func LiftCut(standing events.CutsRecorded, existing bool, id events.RevocationID, until, now time.Time) events.CutsRecorded {
	next := events.CutsRecorded{Deadline: until, Lifted: stillLifted(standing.Lifted, now)}
	for _, c := range standing.Cuts {
		if c.ID != id {
			next.Cuts = append(next.Cuts, c)
		}
	}
	next.Lifted = append(next.Lifted, events.LiftedRevocation{ID: id, Until: until})
	if existing {
		next.Deadline = notBefore(standing.Deadline, until)
	}
	return next
}

// Covered reports whether recording n would change nothing: it is recorded, it was
// lifted, or another one denies the same that cannot be lifted.
func Covered(standing events.CutsRecorded, n events.Revocation, now time.Time) bool {
	return Lifted(standing, n.ID) || slices.ContainsFunc(standing.Cuts, func(c events.Revocation) bool {
		return c.ID == n.ID || permanent(c, now) && dominates(c, n)
	})
}

// Lifted reports whether a revocation was taken back, as far as that is remembered.
func Lifted(standing events.CutsRecorded, id events.RevocationID) bool {
	return slices.ContainsFunc(standing.Lifted, func(l events.LiftedRevocation) bool { return l.ID == id })
}

// Liftable reports whether a recorded revocation can still be lifted: once what it
// denies has expired there is nothing to lift but sessions that have ended.
func Liftable(c events.Revocation, now time.Time) bool { return !now.After(c.Until) }

func stillLifted(all []events.LiftedRevocation, now time.Time) []events.LiftedRevocation {
	return slices.DeleteFunc(slices.Clone(all), func(l events.LiftedRevocation) bool { return now.After(l.Until) })
}

// lasting reports whether r goes on to mean something when the last token that it
// denies has expired: it has ended sessions.
func lasting(r events.Revocation) bool {
	return r.Kind.Wide() && r.Kind != events.KindKey && r.Scope == events.ScopeSessions && !r.Cut.IsZero()
}

func ended(r events.Revocation, now time.Time) bool { return !lasting(r) && now.After(r.Until) }

func permanent(r events.Revocation, now time.Time) bool { return lasting(r) && !Liftable(r, now) }

func remembered(r events.Revocation, now time.Time) bool {
	return r.Kind.Wide() && Named(r.ID) && now.Before(r.Until.Add(NamedFor))
}

// redundant reports whether a permanent one among all covers all[i]. Of two that
// cover each other, the later one stays.
func (n Cut) redundant(all []events.Revocation, i int, now time.Time) bool {
	for j, p := range all {
		if j != i && permanent(p, now) && n.covers(p, all[i]) && (j > i || !n.covers(all[i], p)) {
			return true
		}
	}
	return false
}

// covers reports whether nothing that old ends would live by p alone: p denies all
// of it, or all but the session that p excepts and that old does not reach, because
// it began later or is gone.
func (n Cut) covers(p, old events.Revocation) bool {
	if dominates(p, old) {
		return true
	}
	began, lives := n.Began[p.Except]
	if lives && (old.Cut.IsZero() || began.Shard != old.Cut.Shard || began.Sequence <= old.Cut.Sequence) {
		return false
	}
	p.Except = ""
	return dominates(p, old)
}

// dominates reports whether everything that old denies, n denies for as long.
func dominates(n, old events.Revocation) bool {
	if n.Except != "" && n.Except != old.Except {
		return false
	}
	// The end of a session takes its access tokens along.
	if !lasting(n) && (n.Scope != old.Scope || n.Until.Before(old.Until)) {
		return false
	}
	if lasting(n) || !n.Cut.IsZero() {
		return !old.Cut.IsZero() && n.Cut.Shard == old.Cut.Shard && n.Cut.Sequence >= old.Cut.Sequence
	}
	// Other issuers' tokens have no place in the journal; and narrow ones deny whole.
	return n.CutTime.IsZero() || !old.CutTime.IsZero() && !n.CutTime.Before(old.CutTime)
}
