package simulation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
)

// work is one event of AUDIT that the finisher has to deal with.
type work struct {
	revocation *events.Revocation
	session    *events.Session
	change     *events.Record
	due        time.Time
	running    bool
}

// announced puts an announcement on the feed and, through AUDIT, on the finisher's
// desk.
func (w *world) announced(e events.Envelope, ttl time.Duration) uint64 {
	sequence := w.feed.publish(e, ttl)
	if revoked, ok := e.Event.(events.Revoked); ok {
		w.audit = append(w.audit, &work{revocation: &revoked.Revocation, due: time.Now().Add(settleAfter)})
	}
	return sequence
}

// finish takes up one event that is due, in no order. What fails comes again, and
// so does now and then what did not.
func (w *world) finish() {
	var due []int
	for i, job := range w.audit {
		if !job.running && !time.Now().Before(job.due) {
			due = append(due, i)
		}
	}
	if len(due) == 0 {
		return
	}
	w.finishOne(w.audit[pick(w, due...)])
}

func (w *world) finishOne(job *work) *task {
	var err error
	p := pick(w, w.processes...)
	name := "finishing a change"
	if job.session != nil {
		name = fmt.Sprintf("finishing the end of %d", w.byID[job.session.ID].number)
	}
	if job.revocation != nil {
		name = fmt.Sprintf("finishing a revocation of %s", job.revocation.Kind)
	}
	job.running = true
	return w.start(name, p, func(ctx context.Context, s *issue.Service) {
		// If the process dies, the event comes again.
		defer func() { job.running, job.due = false, time.Now().Add(w.between(time.Second, 20*time.Second)) }()
		err = events.ErrUnavailable
		switch {
		case job.revocation != nil:
			err = s.Record(ctx, *job.revocation)
		case job.change != nil:
			err = s.Complete(ctx, *job.change)
		default:
			err = s.Compact(ctx, *job.session)
		}
	}, func(t *task) {
		if err != nil {
			w.done(t, name, err)
			return
		}
		w.stats["finished"]++
		if job.revocation != nil {
			w.recorded(*job.revocation)
		}
		if w.faults.calm() || !w.chance(0.1) {
			for i, other := range w.audit {
				if other == job {
					w.audit = append(w.audit[:i:i], w.audit[i+1:]...)
					return
				}
			}
		}
	})
}

// recorded: what the finisher has dealt with is as good as acknowledged. Of wide ones
// that only the journal's record tells, which a lift may be taking back: they are
// asked about at the end.
func (w *world) recorded(r events.Revocation) {
	if s := w.byID[events.SessionID(r.Target)]; r.Kind == events.KindSession && s != nil {
		w.endedFor(s, forGood)
	}
}

// end lets nothing go wrong any more, and everything come to its end; then asks of
// every session that is over, again and again while all that expires does so,
// whether it can be refreshed, and at last whether the log has let go of it.
func (w *world) end() {
	w.note("the end: nothing goes wrong any more")
	w.quiet()
	w.faults = faults{skew: w.faults.skew, lag: w.faults.lag}
	for _, r := range w.replicas {
		r.Follow(w.log.Last())
	}
	w.settleAudit()
	for _, wait := range []time.Duration{0, time.Minute, 2 * time.Minute, 6 * time.Minute, 20 * time.Minute, time.Hour, 3 * time.Hour, 12 * time.Hour} {
		w.sleep(wait)
		for _, s := range w.sessions {
			if w.violation != "" {
				return
			}
			if s.over.since() > 0 && len(s.tokens) > 0 {
				w.refresh(pick(w, w.processes...), s, s.latest)
				w.quiet()
			}
		}
		w.settleAudit()
	}
	w.sleep(12 * time.Hour)
	w.letGo()
}

func (w *world) settleAudit() {
	for len(w.audit) > 0 && w.violation == "" {
		w.sleep(time.Second)
		for _, job := range append([]*work(nil), w.audit...) {
			if !job.running && !time.Now().Before(job.due) {
				w.finishOne(job)
				w.quiet()
			}
		}
	}
}

// letGo asks what the log still has half a day after the last event, INV-7: users,
// cuts that nothing bounds, and sessions that never end by themselves.
func (w *world) letGo() {
	endless := map[string]bool{}
	for _, s := range w.sessions {
		if m, ok := lastOf(s.messages, time.Now()); ok && m.expires.IsZero() && m.session.Ended == nil {
			endless[s.place] = true
		}
	}
	for _, place := range w.log.Subjects() {
		kind, _, _ := strings.Cut(strings.TrimPrefix(place, "revocast.test.journal."), ".")
		if kind == "user" || kind == "client" || kind == "cut" || kind == "lifetimes" || endless[place] {
			continue
		}
		w.violated("INV-7: the log still has %s", w.nameOf(place))
	}
}

// nameOf says which session a place is.
func (w *world) nameOf(place string) string {
	for _, s := range w.sessions {
		if s.place == place {
			m := s.messages[len(s.messages)-1]
			return fmt.Sprintf("session %d, expires %s, ended %t", s.number, m.expires, m.session.Ended != nil)
		}
	}
	return place
}
