package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
)

const (
	// MaxLimit is how many entries one answer holds at most.
	MaxLimit = 1000
	// historyWithin is how long one answer is put together; what was found by then is
	// given, with a cursor to go on from.
	historyWithin = 10 * time.Second
	// skew is how far the broker's timestamps may be out of order: its nodes' clocks
	// differ, and another of them may lead.
	skew = events.MaxSkew
)

// Stream is a stream of the past (package eventstore).
type Stream interface {
	Read(ctx context.Context, r eventstore.Range) iter.Seq2[eventstore.Past, error]
	Reach(ctx context.Context) (time.Time, error)
}

// Config is what one realm's issuers have in common.
type Config struct {
	Realm subject.Realm
	Keyer subject.Keyer
	// Issuer is whose subjects are meant unless a question says otherwise.
	Issuer events.Issuer
	// Home is whose journal it is: positions in tokens of anybody else count for
	// nothing. Issuer, if empty.
	Home events.Issuer
	// Root verifies lifts.
	Root ed25519.PublicKey
	// Now is the issuer's clock, [time.Now] if nil. It tells no order; that is the
	// broker's time.
	Now func() time.Time
}

// Audit reads AUDIT and FEED. It holds no state but its dependencies and is safe for
// concurrent use.
type Audit struct {
	cfg         Config
	audit, feed Stream
}

// New puts an Audit together from the streams AUDIT and FEED.
func New(cfg Config, audit, feed Stream) *Audit {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Home = cmp.Or(cfg.Home, cfg.Issuer)
	return &Audit{cfg: cfg, audit: audit, feed: feed}
}

// Query asks for history. Of subject, session and client those that are given must all
// match.
type Query struct {
	Issuer  events.Issuer // empty: this issuer
	Subject events.Subject
	Session events.SessionID
	Client  events.ClientID
	// From and To bound the broker's time, both included; zero for no bound.
	From, To time.Time
	// Limit is how many entries are wanted, 1 to [MaxLimit].
	Limit int
	// After is the cursor of the last entry known; zero to begin at From.
	After uint64
}

// Page is a part of history, oldest first.
type Page struct {
	Entries []Entry
	// Next is the cursor to go on from; empty if this was all there is now.
	Next string
	// Unreadable is how many messages could not be read: they were written by a later
	// version, or damaged.
	Unreadable int
}

// History answers a query as one replica of AUDIT knows it.
func (a *Audit) History(ctx context.Context, q Query) (Page, error) {
	if q.Issuer == "" {
		q.Issuer = a.cfg.Issuer
	}
	r := eventstore.Range{Subjects: a.places(q), After: q.After}
	if !q.From.IsZero() {
		r.Since = q.From.Add(-skew)
	}
	page := Page{Entries: []Entry{}}
	deadline := time.Now().Add(historyWithin)
	for p, err := range a.audit.Read(ctx, r) {
		if err != nil && !unreadable(err) {
			return Page{}, err
		}
		if !q.To.IsZero() && p.Time.After(q.To.Add(skew)) {
			return page, nil
		}
		if err != nil {
			page.Unreadable++
		} else if e, news := describe(p); news && q.matches(e) {
			page.Entries = append(page.Entries, e)
		}
		if len(page.Entries) == q.Limit || time.Now().After(deadline) {
			page.Next = strconv.FormatUint(p.Position.Sequence, 10)
			return page, nil
		}
	}
	return page, nil
}

// unreadable tells an error about one message from one that ends the reading.
func unreadable(err error) bool {
	return errors.Is(err, codec.ErrMalformed) || errors.Is(err, codec.ErrInvalid)
}

func (q Query) matches(e Entry) bool {
	switch {
	case q.Subject != "" && (e.Subject != string(q.Subject) || e.Issuer != string(q.Issuer)),
		q.Session != "" && e.Session != string(q.Session) && e.ExceptSession != string(q.Session),
		q.Client != "" && e.Client != string(q.Client),
		!q.From.IsZero() && e.At.Before(q.From),
		!q.To.IsZero() && e.At.After(q.To):
		return false
	}
	return true
}

// places are the subjects of AUDIT that can hold an answer.
func (a *Audit) places(q Query) []string {
	t := topology.Options{Realm: a.cfg.Realm}
	all := a.cfg.Realm.Notes()
	switch {
	case q.Subject != "":
		// Not what is said of clients, keys or everyone, and of sessions only what
		// says whose they are.
		return []string{
			t.AuditOfSessions(a.cfg.Keyer.Key(events.KindSubject, q.Issuer, string(q.Subject))),
			t.AuditOfFeed(a.cfg.Realm.FeedEntry(events.KindSubject, q.Issuer, string(q.Subject))),
			t.AuditOfFeed(a.cfg.Realm.FeedLift(q.Issuer, string(q.Subject))),
			a.cfg.Realm.Note(q.Issuer, q.Subject),
		}
	case q.Session != "":
		return []string{
			all, t.AuditOfKind("journal.session"), t.AuditOfKind("feed.subject"),
			t.AuditOfFeed(a.cfg.Realm.FeedEntry(events.KindSession, q.Issuer, string(q.Session))),
		}
	case q.Client != "":
		return []string{
			all, t.AuditOfKind("journal.session"), t.AuditOfKind("journal.client"),
			t.AuditOfFeed(a.cfg.Realm.FeedEntry(events.KindClient, q.Issuer, string(q.Client))),
			t.AuditOfFeed(a.cfg.Realm.FeedLift(q.Issuer, string(q.Client))),
		}
	}
	places := []string{all, t.AuditOfKind("journal.session"), t.AuditOfKind("journal.client"), t.AuditOfKind("feed.lift"), t.AuditOfKind("feed.keys")}
	for _, k := range events.Kinds() {
		places = append(places, t.AuditOfKind("feed."+k.String()))
	}
	return places
}
