package audit

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
)

// replay folds announcements, in any order and however often they come, into what they
// make of one token at one moment. It is pure.
type replay struct {
	realm    subject.Realm
	root     ed25519.PublicKey
	question Question

	// revoked and lifted are what was announced about the token, by event.
	revoked map[events.EventID]announcement[events.Revocation]
	lifted  map[events.EventID]announcement[events.Lift]
	// blind is how many messages could not be read that may have been about it.
	blind int
}

// announcement is an event and when it was announced: no earlier than began, and at
// since it had been.
type announcement[T any] struct {
	what         T
	began, since time.Time
}

func newReplay(realm subject.Realm, root ed25519.PublicKey, q Question) *replay {
	return &replay{
		realm: realm, root: root, question: q,
		revoked: map[events.EventID]announcement[events.Revocation]{}, lifted: map[events.EventID]announcement[events.Lift]{},
	}
}

// fromAudit takes a record of AUDIT, whose time is when AUDIT got to know of it: the
// feed did at some moment between the issuer's command and then.
func (r *replay) fromAudit(n events.Record) {
	began := n.Time
	if n.Envelope.At.Before(began) {
		began = n.Envelope.At
	}
	r.apply(n, began)
}

// fromFeed takes a record of FEED, whose time is exact. It must come after those of
// AUDIT.
func (r *replay) fromFeed(n events.Record) { r.apply(n, n.Time) }

func (r *replay) apply(n events.Record, began time.Time) {
	switch e := n.Envelope.Event.(type) { //nolint:gochecksumtype // nothing else denies, or takes it back
	case events.Revoked:
		if e.Revocation.Denies(&r.question.Token) {
			r.revoked[n.Envelope.ID] = announcement[events.Revocation]{e.Revocation, began, n.Time}
		}
	case events.Lifted:
		if codec.VerifyLift(r.root, r.realm, e.Lift) {
			r.lifted[n.Envelope.ID] = announcement[events.Lift]{e.Lift, began, n.Time}
		}
	case events.Unknown:
		r.unreadable(n.Time)
	}
}

// unreadable takes note of a message that nobody here can read.
func (r *replay) unreadable(at time.Time) {
	if !at.After(r.question.At) {
		r.blind++
	}
}

// verdict judges by what has been taken.
func (r *replay) verdict() Verdict {
	at := r.question.At
	v := Verdict{At: at.UTC(), Decided: true, Passed: true, Reasons: []Denial{}}
	var doubt string
	for _, a := range r.revoked {
		n := a.what
		lifted, liftDoubted := r.isLifted(n)
		switch {
		case a.began.After(at), !n.Until.IsZero() && at.After(n.Until), lifted:
		case a.since.After(at):
			doubt = fmt.Sprintf("revocation %s was being announced at that moment", n.ID)
		case liftDoubted:
			doubt = fmt.Sprintf("revocation %s was being lifted at that moment", n.ID)
		default:
			v.deny(n, a.since)
		}
	}
	slices.SortFunc(v.Reasons, func(a, b Denial) int { return a.Since.Compare(b.Since) })
	v.Lifetime = lifetime(r.question)
	switch {
	case v.Lifetime != "" || len(v.Reasons) > 0:
		v.Passed = false
	case doubt != "":
		v.undecided(doubt)
	case r.blind > 0:
		v.undecided(fmt.Sprintf("%d messages cannot be read by this version", r.blind))
	}
	return v
}

// isLifted reports whether n was lifted at the moment in question, or whether that is
// not certain.
func (r *replay) isLifted(n events.Revocation) (lifted, doubted bool) {
	for _, l := range r.lifted {
		if l.what.RevocationID != n.ID || l.what.Kind != n.Kind || l.what.Issuer != n.Issuer || l.what.Target != n.Target {
			continue
		}
		lifted = lifted || !l.since.After(r.question.At)
		doubted = doubted || !l.began.After(r.question.At)
	}
	return lifted, doubted
}

// deny adds a reason. A revocation announced again is the same one, for longer.
func (v *Verdict) deny(n events.Revocation, since time.Time) {
	d := denial(n, since)
	i := slices.IndexFunc(v.Reasons, func(have Denial) bool { return have.RevocationID == d.RevocationID })
	if i < 0 {
		v.Reasons = append(v.Reasons, d)
		return
	}
	if have := &v.Reasons[i]; d.ExpiresAt == nil || have.ExpiresAt != nil && d.ExpiresAt.After(*have.ExpiresAt) {
		have.ExpiresAt = d.ExpiresAt
	}
	if d.Since.Before(v.Reasons[i].Since) {
		v.Reasons[i].Since = d.Since
	}
}

// lifetime says why a token cannot have passed at a moment whatever was revoked.
func lifetime(q Question) string {
	switch {
	case !q.Expires.IsZero() && !q.At.Before(q.Expires):
		return "it had expired at " + q.Expires.UTC().Format(time.RFC3339)
	case q.Token.IssuedAt != 0 && q.At.Before(time.Unix(q.Token.IssuedAt, 0)):
		return "it was not issued before " + time.Unix(q.Token.IssuedAt, 0).UTC().Format(time.RFC3339)
	}
	return ""
}
