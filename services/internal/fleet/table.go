package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
)

// key is who a sidecar is: its name, and which run of it.
type key struct{ sidecar, instance string }

func (k key) compare(o key) int {
	return cmp.Or(strings.Compare(k.sidecar, o.sidecar), strings.Compare(k.instance, o.instance))
}

// Member is one sidecar as it was last heard of.
type Member struct {
	events.Report
	// Seen is when that was, by this issuer's clock.
	Seen time.Time
	// Silent: it was asked since, and has not answered.
	Silent bool
}

func (m Member) key() key { return key{m.Sidecar, m.Instance} }

// table is who is expected. It says nothing about time by itself.
type table struct {
	members map[key]Member
	limit   int
	gone    func(key) // is told who is expected no more
	// refused is when a report last found no room.
	refused time.Time
}

// outcome is what became of a report.
type outcome string

const (
	taken     outcome = "taken"
	signedOff outcome = "signed_off"
	full      outcome = "full"
	malformed outcome = "malformed"
	misplaced outcome = "misplaced"
)

func newTable(limit int, gone func(key)) *table {
	return &table{members: map[key]Member{}, limit: limit, gone: gone}
}

func (t *table) remove(k key) {
	if _, known := t.members[k]; known {
		delete(t.members, k)
		t.gone(k)
	}
}

// take takes in a report. Who is known already is so still when the table is full: what
// comes too late is refused, and nobody is forgotten for it.
func (t *table) take(r events.Report, now time.Time) outcome {
	k := key{r.Sidecar, r.Instance}
	if r.Replaces != "" && r.Replaces != r.Instance {
		t.remove(key{r.Sidecar, r.Replaces})
	}
	if r.State == events.StateSignedOff {
		t.remove(k)
		return signedOff
	}
	if _, known := t.members[k]; !known && len(t.members) >= t.limit {
		t.refused = now
		return full
	}
	t.members[k] = Member{Report: r, Seen: now}
	return taken
}

// expire forgets who was silent for longer than any token lives.
func (t *table) expire(now time.Time, lifetime time.Duration) {
	for k, m := range t.members {
		if now.Sub(m.Seen) > lifetime {
			t.remove(k)
		}
	}
}

// overfull reports whether somebody may be missing from the table for want of room.
func (t *table) overfull(now time.Time, lifetime time.Duration) bool {
	return !t.refused.IsZero() && now.Sub(t.refused) <= lifetime
}

// list gives all members, by name.
func (t *table) list() []Member {
	all := make([]Member, 0, len(t.members))
	for _, m := range t.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return a.key().compare(b.key()) })
	return all
}
