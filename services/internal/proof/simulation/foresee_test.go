package simulation

import (
	"time"
)

// foresee looks ahead: if nothing more were written, would a session whose end was
// acknowledged ever be refreshed again, once some of its messages or of the cuts
// have expired?
func (w *world) foresee(s *known) {
	if s.over.since() == 0 {
		return
	}
	now := time.Now()
	moments := []time.Time{now}
	add := func(messages []stored) {
		for _, m := range messages {
			if m.expires.After(now) {
				moments = append(moments, m.expires)
			}
		}
	}
	add(s.messages)
	places := w.cutPlaces()
	for _, place := range places {
		add(w.cuts[place])
	}
	for _, at := range moments {
		if w.refreshable(s, at, places) {
			w.violated("INV-5: session %d, over since step %d, comes back in %s %v", s.number, s.over.since(), at.Sub(now), s.over)
			return
		}
	}
}

// refreshable asks what the journal as it is would say at a later moment.
func (w *world) refreshable(s *known, at time.Time, places []string) bool {
	m, ok := lastOf(s.messages, at)
	if !ok || m.session.Ended != nil {
		return false
	}
	if idle := m.session.IdleLimit; idle > 0 && at.Sub(m.at) > idle {
		return false
	}
	if a := m.session.AbsoluteExpires; !a.IsZero() && at.After(a) {
		return false
	}
	if s.version < s.person.version && s.person.spared != s.id {
		return false
	}
	if _, out := s.tokens[m.session.Generation]; !out && !s.bound() {
		return false // nobody has its token
	}
	for _, place := range places {
		if m, ok := lastOf(w.cuts[place], at); ok {
			for _, c := range m.cuts {
				if endsSession(c, s) {
					return false
				}
			}
		}
	}
	return true
}
