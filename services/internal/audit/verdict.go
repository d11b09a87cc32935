package audit

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/cloudevent"
	"github.com/revocast/revocast/services/internal/eventstore"
)

const (
	// verdictWithin bounds how long a verdict is looked for.
	verdictWithin = 20 * time.Second
	// stall is how much later than FEED AUDIT may have got to know something. A
	// fail-over has been seen to take a minute.
	stall = time.Hour
)

// Question asks whether a token would have passed at some moment.
type Question struct {
	// Token is what the token says. Foreign follows from its issuer.
	Token events.Facts
	// Expires is its `exp`; zero where it is not given.
	Expires time.Time
	// At is the moment, by the broker's clock.
	At time.Time
}

// Verdict is the answer.
type Verdict struct {
	At time.Time `json:"at"`
	// Decided is false if AUDIT cannot tell; then Undecided says why, and Passed means
	// nothing.
	Decided   bool   `json:"decided"`
	Passed    bool   `json:"passed"`
	Undecided string `json:"undecided,omitempty"`
	// Lifetime says why it did not pass whatever had been revoked.
	Lifetime string `json:"lifetime,omitempty"`
	// Reasons are the revocations in force that denied it, oldest first.
	Reasons []Denial `json:"reasons"`
	// ReachesBackTo is when the memory of AUDIT begins.
	ReachesBackTo time.Time `json:"reaches_back_to"`
}

// Denial is one revocation that denied a token.
type Denial struct {
	RevocationID  string        `json:"revocation_id"`
	Kind          string        `json:"kind"`
	ID            string        `json:"id,omitempty"`
	Issuer        string        `json:"issuer"`
	Scope         string        `json:"scope,omitempty"`
	Cut           string        `json:"cut,omitempty"`
	ExceptSession string        `json:"except_session,omitempty"`
	Reason        string        `json:"reason"`
	By            cloudevent.By `json:"by"`
	// Since is when it was announced, ExpiresAt when it is forgotten.
	Since     time.Time  `json:"since"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// At judges a token by the revocations in force at a moment and by its own lifetime,
// without any leeway. It knows nothing of signatures, trust rules and staleness, which
// a sidecar looks at as well.
func (a *Audit) At(ctx context.Context, q Question) (Verdict, error) {
	if q.Token.Issuer == "" {
		q.Token.Issuer = a.cfg.Issuer
	}
	q.Token.Foreign = q.Token.Issuer != a.cfg.Home
	within, cancel := context.WithTimeout(ctx, verdictWithin)
	defer cancel()
	reach, err := a.audit.Reach(within)
	if err != nil {
		return Verdict{}, err
	}
	v, err := a.replay(within, q)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		v, err = Verdict{At: q.At.UTC(), Reasons: []Denial{}}, nil
		v.undecided("there is more to read than there was time for")
	}
	v.ReachesBackTo = reach.UTC()
	// What was announced before AUDIT's memory begins may have denied it all the same.
	// What was not forgotten by now is still in FEED, however old.
	issued := time.Unix(q.Token.IssuedAt, 0).Add(time.Second) // iat is rounded down
	if v.Passed && q.At.After(a.cfg.Now().Add(skew)) {
		v.undecided("that moment has not come yet")
	}
	if v.Passed && (q.At.Before(reach) || q.Token.IssuedAt != 0 && issued.Before(reach)) {
		v.undecided("the audit does not reach back that far")
	}
	return v, err
}

// replay reads AUDIT and then FEED, which still has what is in force now and knows the
// very moment of it.
func (a *Audit) replay(ctx context.Context, q Question) (Verdict, error) {
	r := newReplay(a.cfg.Realm, a.cfg.Root, q)
	feed := a.entries(q.Token)
	audit := make([]string, len(feed))
	for i, place := range feed {
		audit[i] = topology.Options{Realm: a.cfg.Realm}.AuditOfFeed(place)
	}
	for _, from := range []struct {
		stream Stream
		places []string
		apply  func(events.Record)
	}{{a.audit, audit, r.fromAudit}, {a.feed, feed, r.fromFeed}} {
		for p, err := range from.stream.Read(ctx, eventstore.Range{Subjects: from.places}) {
			if err != nil && !unreadable(err) {
				return Verdict{}, err
			}
			if p.Time.After(q.At.Add(stall)) {
				break
			}
			if err != nil {
				r.unreadable(p.Time)
				continue
			}
			from.apply(p.Record)
		}
	}
	return r.verdict(), nil
}

// entries are the subjects of what can deny a token of these facts, and of the lifts of
// that.
func (a *Audit) entries(f events.Facts) []string {
	var list []string
	for kind, target := range map[events.Kind]string{
		events.KindToken: string(f.Token), events.KindSession: string(f.Session), events.KindSubject: string(f.Subject),
		events.KindClient: string(f.Client), events.KindKey: string(f.Key), events.KindAll: "",
	} {
		if target != "" || kind == events.KindAll {
			list = append(list, a.cfg.Realm.FeedEntry(kind, f.Issuer, target), a.cfg.Realm.FeedLift(f.Issuer, target))
		}
	}
	slices.Sort(list)
	return slices.Compact(list) // two targets may share a shard of lifts
}

func (v *Verdict) undecided(why string) {
	v.Decided, v.Passed = false, false
	v.Undecided = cmp.Or(v.Undecided, why)
}

func denial(n events.Revocation, since time.Time) Denial {
	d := Denial{
		RevocationID: string(n.ID), Kind: n.Kind.String(), ID: n.Target, Issuer: string(n.Issuer), Cut: text(n.Cut),
		ExceptSession: string(n.Except), Reason: string(n.Reason), By: cloudevent.By{Role: n.By.Role, Name: n.By.Name},
		Since: since.UTC(), ExpiresAt: moment(n.Until),
	}
	if n.Kind.Wide() {
		d.Scope = n.Scope.String()
	}
	return d
}
