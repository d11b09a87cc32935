package audit

import (
	"crypto/ed25519"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
)

// The order in which announcements come, and how often, changes nothing; and the
// verdict is that of whoever looks at each revocation by itself.
func TestReplayIsAFold(t *testing.T) {
	public, root, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		const target = "alice"
		at := func(s int) time.Time { return time.Unix(1000+int64(s), 0).UTC() }
		moment := func(label string) int { return rapid.IntRange(0, 9).Draw(t, label) }
		q := Question{Token: events.Facts{Issuer: "i", Subject: target}, At: at(moment("at"))}

		type life struct{ since, until, lifted int }
		lives := map[events.RevocationID]life{}
		var records []events.Record
		record := func(e events.Event, s int) {
			records = append(records, events.Record{
				Time: at(s), Envelope: events.Envelope{ID: events.EventID(fmt.Sprint("e", len(records))), At: at(s), Event: e},
			})
		}
		for n := range rapid.IntRange(0, 4).Draw(t, "revocations") {
			id := events.RevocationID(fmt.Sprintf("00000000-0000-7000-8000-%012d", n))
			r := events.Revocation{ID: id, Kind: events.KindSubject, Issuer: "i", Target: target, Reason: "r", Until: at(moment("until"))}
			l := life{since: moment("since"), until: int(r.Until.Unix() - 1000), lifted: 99}
			record(events.Revoked{Revocation: r}, l.since)
			if rapid.Bool().Draw(t, "lifted") {
				l.lifted = moment("lifted at")
				record(events.Lifted{Lift: codec.SignLift(root, "realm", events.Lift{
					RevocationID: id, Kind: r.Kind, Issuer: r.Issuer, Target: r.Target, Until: at(99),
				})}, l.lifted)
			}
			lives[id] = l
			other := r
			other.Target = "bob"
			record(events.Revoked{Revocation: other}, l.since)
		}
		fold := func(records []events.Record) Verdict {
			r := newReplay("realm", public, q)
			for _, n := range records {
				r.fromAudit(n)
			}
			return r.verdict()
		}
		got := fold(records)

		now, want := int(q.At.Unix()-1000), map[string]bool{}
		for id, l := range lives {
			if l.since <= now && now <= l.until && l.lifted > now {
				want[string(id)] = true
			}
		}
		found := map[string]bool{}
		for _, d := range got.Reasons {
			found[d.RevocationID] = true
		}
		if !reflect.DeepEqual(found, want) || !got.Decided || got.Passed != (len(want) == 0) {
			t.Fatalf("got %+v, want %v", got, want)
		}

		shuffled := append(rapid.Permutation(records).Draw(t, "order"), rapid.Permutation(records).Draw(t, "again")...)
		again := fold(shuffled)
		byID := func(a, b Denial) int { return slices.Compare([]byte(a.RevocationID), []byte(b.RevocationID)) }
		slices.SortFunc(again.Reasons, byID)
		slices.SortFunc(got.Reasons, byID)
		if !reflect.DeepEqual(again, got) {
			t.Fatalf("got %+v, in another order %+v", got, again)
		}
	})
}

// What this version cannot read may have denied the token: then it is not said to have
// passed, unless it came later.
func TestReplayOfTheUnreadable(t *testing.T) {
	at := time.Unix(1000, 0)
	unknown := events.Envelope{ID: "e", At: at, Event: events.Unknown{Number: 99}}
	for name, c := range map[string]struct {
		when    time.Time
		decided bool
	}{"before": {at, false}, "later": {at.Add(time.Second), true}} {
		r := newReplay("realm", nil, Question{Token: events.Facts{Issuer: "i", Subject: "alice"}, At: at})
		r.fromAudit(events.Record{Time: c.when, Envelope: unknown})
		if v := r.verdict(); v.Decided != c.decided || v.Passed != c.decided {
			t.Errorf("%s: %+v", name, v)
		}
		denying := events.Revocation{ID: "r", Kind: events.KindAll, Issuer: "i"}
		r.fromAudit(events.Record{Time: at, Envelope: events.Envelope{ID: "f", At: at, Event: events.Revoked{Revocation: denying}}})
		if v := r.verdict(); !v.Decided || v.Passed {
			t.Errorf("%s, and denied: %+v", name, v)
		}
	}
}

// A lift under way is as uncertain as a revocation under way.
func TestReplayOfALiftUnderWay(t *testing.T) {
	public, root, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1000, 0)
	n := events.Revocation{ID: "00000000-0000-7000-8000-000000000001", Kind: events.KindSubject, Issuer: "i", Target: "alice"}
	lift := events.Lifted{Lift: codec.SignLift(root, "realm", events.Lift{RevocationID: n.ID, Kind: n.Kind, Issuer: n.Issuer, Target: n.Target, Until: at})}
	for name, c := range map[string]struct {
		began, since    time.Time
		decided, passed bool
	}{
		"lifted":    {at.Add(-2 * time.Second), at, true, true},
		"under way": {at.Add(-2 * time.Second), at.Add(time.Second), false, false},
		"to come":   {at.Add(time.Second), at.Add(2 * time.Second), true, false},
	} {
		r := newReplay("realm", public, Question{Token: events.Facts{Issuer: "i", Subject: "alice"}, At: at})
		r.fromAudit(events.Record{Time: at.Add(-time.Minute), Envelope: events.Envelope{ID: "e", At: at.Add(-time.Minute), Event: events.Revoked{Revocation: n}}})
		r.fromAudit(events.Record{Time: c.since, Envelope: events.Envelope{ID: "l", At: c.began, Event: lift}})
		if v := r.verdict(); v.Decided != c.decided || v.Passed != c.passed {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
