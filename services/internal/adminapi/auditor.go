package adminapi

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/problem"
	"github.com/revocast/revocast/services/internal/remote"
	"github.com/revocast/revocast/services/internal/throttle"
)

// Notes is where an action is put on record before it is done (package eventstore).
type Notes interface {
	Note(ctx context.Context, subject string, e events.Envelope) error
}

// Noter takes notes that nothing waits for (package notary).
type Noter interface{ Note(n events.Note) }

// Auditor puts on record what operators do, and who was refused. Make one with
// [NewAuditor].
type Auditor struct {
	realm  subject.Realm
	issuer events.Issuer
	notes  Notes
	noter  Noter
	now    func() time.Time

	refusals        *throttle.Set
	byAddress, over *throttle.Table
}

// How many refusals an issuer puts on record a minute: of one address, and in all.
const (
	notedOfAddress = 1
	notedInAll     = 100
)

// NewAuditor makes an auditor. notes is for what is done, noter for refusals, and now
// is the issuer's clock.
func NewAuditor(realm subject.Realm, issuer events.Issuer, notes Notes, noter Noter, now func() time.Time) *Auditor {
	s := throttle.New(now)
	return &Auditor{
		realm: realm, issuer: issuer, notes: notes, noter: noter, now: now, refusals: s,
		byAddress: s.Table("admin_refusal", throttle.Limit{Failures: notedOfAddress, Per: time.Minute}),
		over:      s.Table("admin_refusals", throttle.Limit{Failures: notedInAll, Per: time.Minute}),
	}
}

// actionPrefix begins the action of everything that operators do.
const actionPrefix = "operator."

// note puts on record that an operator is about to do what the request asks. Without
// it nothing may be done.
func (a *Auditor) note(r *http.Request, by events.Initiator) error {
	if !recorded(r) {
		return nil
	}
	n := about(r, a.issuer)
	n.Action, n.By, n.Address = events.Action(actionPrefix+r.Pattern), by, addressOf(remote.Addr(r))
	return a.notes.Note(r.Context(), a.realm.Note(n.Issuer, n.Subject), events.Envelope{
		ID: events.EventID(uuid.Must(uuid.NewV7()).String()), At: a.now(), Event: events.Noted{Note: n},
	})
}

// recorded reports whether a request goes on record: unless it only reads what is
// about nobody.
func recorded(r *http.Request) bool {
	switch r.Pattern {
	case "GET /admin/v1/clients", "GET /admin/v1/keys", "GET /admin/v1/operators":
		return false
	}
	return true
}

// refused takes a note of a request that was refused for who made it: once a minute
// for each address, so that nobody fills the audit by being refused.
func (a *Auditor) refused(r *http.Request, by events.Initiator, err error) {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok || p.Status != http.StatusUnauthorized && p.Status != http.StatusForbidden {
		return
	}
	from := remote.Addr(r)
	if from.Is6() {
		// Whoever has one IPv6 address has a network of them (RFC 6177).
		from = netip.PrefixFrom(from, 64).Masked().Addr()
	}
	if a.refusals.Count(a.byAddress.Bucket(from.String())) != nil || a.refusals.Count(a.over.Bucket()) != nil {
		return
	}
	a.noter.Note(events.Note{
		Action: actionPrefix + "refused", By: events.Initiator{Role: "operator", Name: by.Name}, Issuer: a.issuer,
		Address: addressOf(remote.Addr(r)), Detail: http.StatusText(p.Status) + ": " + r.Pattern,
	})
}

// lifted takes a note of whom a lift was about, which was not known before it was done;
// the feed does not say who lifts.
func (a *Auditor) lifted(r *http.Request, by events.Initiator, n events.Revocation) {
	note := events.Note{
		Action: actionPrefix + "lifted", By: by, Issuer: n.Issuer, Address: addressOf(remote.Addr(r)),
		Detail: "revocation " + string(n.ID) + " of a " + n.Kind.String(),
	}
	switch n.Kind {
	case events.KindSubject:
		note.Subject = events.Subject(n.Target)
	case events.KindSession:
		note.Session = events.SessionID(n.Target)
	case events.KindClient:
		note.Client = events.ClientID(n.Target)
	case events.KindToken, events.KindKey, events.KindAll, events.KindUnknown:
	}
	a.noter.Note(note)
}

func addressOf(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
