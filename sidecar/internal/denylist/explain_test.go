package denylist_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

// Explain says what Lookup decides: of every entry that names the token it says the
// same as the rule, whether it is in memory, on disk or both.
func TestExplainIsLikeLookup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := memstore.New()
		d, w := newList(t, store), &twin{}
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			b := batches().Draw(t, "batch")
			apply(t, d, b)
			w.apply(b)
			switch rapid.IntRange(0, 3).Draw(t, "then") {
			case 0:
				if err := d.Flush(); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := d.Flush(); err != nil {
					t.Fatal(err)
				}
				d = newList(t, store)
			}
		}
		for _, token := range rapid.SliceOfN(tokens(), 8, 8).Draw(t, "tokens") {
			now := denylisttest.Now().Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "s")) * time.Second)
			wantExplained(t, d, w, token, now)
		}
	})
}

func wantExplained(t *rapid.T, d *denylist.Denylist, w *twin, token denylist.Token, now time.Time) {
	d.Prepare(&token)
	finding, err1 := d.Lookup(t.Context(), &token, now)
	looks, err2 := d.Explain(&token, now)
	if err := errors.Join(err1, err2); err != nil || len(looks) != len(events.Kinds()) {
		t.Fatalf("%d kinds, %v", len(looks), err)
	}
	var denying []events.Revocation
	for _, l := range looks {
		for _, f := range l.Found {
			r := f.Revocation
			if !names(r, token) || !l.Looked || r.Kind != l.Kind || r.Target != l.Target || !f.Memory && !f.Disk {
				t.Fatalf("%+v is found by %+v for %+v", f, l, token)
			}
			if lifted := w.isLifted(r); lifted != (f.Standing == denylist.Lifted) {
				t.Fatalf("%+v: lifted is %v", f, lifted)
			} else if lifted {
				continue
			}
			denies := !now.After(r.Until) && covers(r, token)
			if denies {
				denying = append(denying, r)
			}
			if over := now.After(r.Until); denies != (f.Standing == denylist.Denies) || over != (f.Standing == denylist.OutOfDate) ||
				!over && (f.Standing == denylist.Excepted) != (r.Kind == events.KindSubject && r.Except != "" && r.Except == token.Session) {
				t.Fatalf("%+v for %+v at %v", f, token, now)
			}
			if byTime := token.SessionAt.IsZero() && token.MintedAt.IsZero(); f.Standing == denylist.AuthenticatedLater && !byTime ||
				(f.Standing == denylist.MintedLater || f.Standing == denylist.SessionLater) && byTime {
				t.Fatalf("%+v for %+v", f, token)
			}
			if f.Standing == denylist.Denies && !l.Hit && d.Status().Complete {
				t.Fatalf("%+v denies beside a miss of the index", f)
			}
		}
	}
	want := w.denying(token, now)
	if finding.Denied != (len(denying) > 0) {
		t.Fatalf("%+v: look-up %+v, explained %+v, want %+v", token, finding, denying, want)
	}
	for _, r := range want {
		if !slices.ContainsFunc(denying, func(have events.Revocation) bool { return denylist.SameRule(&have, &r) }) {
			t.Fatalf("%+v is not explained", r)
		}
	}
}

// Where an entry is: in memory only until the disk has it, and of a lift what is left.
func TestExplainSaysWhere(t *testing.T) {
	d := newList(t, memstore.New())
	session, subject := denylisttest.Session(1, "s"), denylisttest.Subject(2, "u")
	subject.Except = "s"
	apply(t, d, denylist.Batch{Entries: []events.Revocation{session, subject}})
	token := &denylist.Token{Issuer: session.Issuer, Session: "s", Subject: "u", SessionAt: events.Position{Sequence: 1}}
	find := func(k events.Kind) denylist.Found {
		t.Helper()
		looks, err := d.Explain(token, denylisttest.Now())
		if err != nil {
			t.Fatal(err)
		}
		l := looks[k-1]
		if len(l.Found) != 1 || !l.Hit {
			t.Fatalf("%s: %+v", k, l)
		}
		return l.Found[0]
	}
	if _, err := d.Explain(token, denylisttest.Now()); !errors.Is(err, denylist.ErrUnprepared) {
		t.Errorf("unprepared: %v", err)
	}
	d.Prepare(token)
	if f := find(events.KindSession); !f.Memory || f.Disk || f.Standing != denylist.Denies {
		t.Errorf("queued: %+v", f)
	}
	if f := find(events.KindSubject); f.Standing != denylist.Excepted {
		t.Errorf("excepted: %+v", f)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	if f := find(events.KindSession); f.Memory || !f.Disk {
		t.Errorf("written: %+v", f)
	}
	if f := find(events.KindSubject); !f.Memory || !f.Disk {
		t.Errorf("wide, written: %+v", f)
	}
	if !d.Knows(&session, denylisttest.Now()) {
		t.Error("the index does not know the entry")
	}
	c, err := denylist.Canonical(subject)
	if err != nil || !d.Knows(&c, denylisttest.Now()) {
		t.Errorf("the table does not know the entry (%v)", err)
	}
	apply(t, d, denylist.Batch{Lifted: []events.Lift{denylisttest.Lift(session), denylisttest.Lift(subject)}})
	if f := find(events.KindSession); f.Standing != denylist.Lifted || f.Revocation.ID != session.ID || f.Revocation.Reason != "" && !f.Disk {
		t.Errorf("lifted: %+v", f)
	}
	if d.Knows(&c, denylisttest.Now()) {
		t.Error("the table knows what was lifted")
	}
	stranger := denylisttest.Session(3, "nobody")
	if d.Knows(&stranger, denylisttest.Now()) {
		t.Error("the index knows everybody")
	}
}
