package syncer_test

import (
	"testing"
	"time"

	"github.com/revocast/revocast/events/eventstest"
)

// A list that has lost what it held is given the feed from its beginning, and the
// freshness is not what it was before all of it has come.
func TestFollowsFromTheBeginningAgain(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	issuer := newIssuer(t, server)
	before := issuer.revoke(t, nil)
	l := newList()
	s, _ := followServer(t, server, l)
	fresh(t, s, time.Now())
	live := issuer.revoke(t, nil)
	eventually(t, "the live entry", func() bool { return l.has(live) })

	l.forget()
	l.lost <- struct{}{}
	eventually(t, "the feed from its beginning", func() bool { return s.State().Resyncs == 1 })
	fresh(t, s, time.Now())
	if !l.has(before, live) {
		t.Error("fresh again without what was lost")
	}
	if last := l.stored(); last.Sequence == 0 || last.FreshAsOf.IsZero() {
		t.Errorf("stored %+v", last)
	}
}

// forget drops the entries, as a disk does that loses them.
func (l *list) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.entries)
	l.cursor.Sequence, l.cursor.FreshAsOf = 0, time.Time{}
}
