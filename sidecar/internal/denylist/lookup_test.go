package denylist_test

import (
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

func TestUnpreparedTokenIsNotJudged(t *testing.T) {
	d, other := newList(t, memstore.New()), newList(t, memstore.New())
	nobody := &denylist.Token{Session: "s"}
	d.Prepare(nobody)
	for name, token := range map[string]*denylist.Token{
		"zero": {}, "not prepared": {Issuer: "i", Session: "s"}, "prepared by another": tokenOf(other, "s"), "without issuer": nobody,
	} {
		if f, err := d.Lookup(t.Context(), token, denylisttest.Now()); !errors.Is(err, denylist.ErrUnprepared) || f.Denied {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// Without a time nothing has expired.
func TestZeroTimeForgetsNothing(t *testing.T) {
	d := newList(t, memstore.New())
	apply(t, d, sessions("a"))
	d.Expire(time.Time{})
	if f, err := d.Lookup(t.Context(), tokenOf(d, "a"), time.Time{}); err != nil || !f.Denied {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestEveryKindDenies(t *testing.T) {
	for _, k := range events.Kinds() {
		d := newList(t, memstore.New())
		r := denylisttest.Session(1, "")
		r.Kind = k
		r.Target = map[events.Kind]string{
			events.KindToken: "t", events.KindSession: "s", events.KindSubject: "u", events.KindClient: "c", events.KindKey: "k",
		}[k]
		apply(t, d, denylist.Batch{Entries: []events.Revocation{r}})
		f, err := d.Lookup(t.Context(), tokenOf(d, "s"), denylisttest.Now())
		if err != nil || !f.Denied || f.Revocation != r {
			t.Errorf("%s: %+v, %v", k, f, err)
		}
		foreign := tokenOf(d, "s")
		foreign.Issuer = "https://other.example"
		d.Prepare(foreign)
		if f, err := d.Lookup(t.Context(), foreign, denylisttest.Now()); err != nil || f.Denied {
			t.Errorf("%s of another issuer: %+v, %v", k, f, err)
		}
	}
}

// One level that spares a token does not hide another that denies it.
func TestNoLevelMasksAnother(t *testing.T) {
	spares := denylisttest.Subject(1, "u") // cut before tokenOf's positions
	spares.Cut.Sequence = 1
	spares.Except = ""
	excepts := spares
	excepts.ID, excepts.Cut, excepts.Except = denylisttest.RevocationID(2), events.Position{}, "s"
	for _, last := range []events.Revocation{
		denylisttest.Session(3, "s"),
		func() events.Revocation {
			r := spares
			r.ID, r.Cut.Sequence = denylisttest.RevocationID(4), 1<<52
			return r
		}(),
		func() events.Revocation {
			r := spares
			r.Kind, r.Target, r.Cut.Sequence = events.KindAll, "", 1<<52
			return r
		}(),
	} {
		d := newList(t, memstore.New())
		apply(t, d, denylist.Batch{Entries: []events.Revocation{spares, excepts}})
		wantVerdict(t, d, "s", false)
		apply(t, d, denylist.Batch{Entries: []events.Revocation{last}})
		wantVerdict(t, d, "s", true)
	}
}

// An unsigned entry with a known revocation id cannot take anything back.
func TestDuplicateNeverLoosens(t *testing.T) {
	for name, change := range map[string]func(r *events.Revocation){
		"an earlier cut":  func(r *events.Revocation) { r.Cut.Sequence = 1 },
		"an exception":    func(r *events.Revocation) { r.Except = "s" },
		"a narrow scope":  func(r *events.Revocation) { r.Cut.Sequence, r.Scope = 1, events.ScopeAccessTokens },
		"an earlier end":  func(r *events.Revocation) { r.Until = denylisttest.Now().Add(-time.Hour) },
		"all of these":    func(r *events.Revocation) { r.Cut.Sequence, r.Except, r.Until = 1, "s", time.Unix(1, 0) },
		"another reason":  func(r *events.Revocation) { r.Reason = "none" },
		"a cut for none":  func(r *events.Revocation) { r.Cut = events.Position{Shard: 3, Sequence: 1} },
		"nothing changed": func(*events.Revocation) {},
	} {
		first := denylisttest.Subject(1, "u")
		first.Cut.Sequence, first.Except = 1<<52, ""
		second := first
		change(&second)
		d := newList(t, memstore.New())
		apply(t, d, denylist.Batch{Entries: []events.Revocation{first}})
		apply(t, d, denylist.Batch{Entries: []events.Revocation{second}})
		t.Log(name)
		wantVerdict(t, d, "s", true)
		d.Expire(denylisttest.Now())
		wantVerdict(t, d, "s", true)
	}
}

func TestLift(t *testing.T) {
	for _, written := range []bool{false, true} {
		d := newList(t, memstore.New())
		flush := func() {
			if err := d.Flush(); written && err != nil {
				t.Fatal(err)
			}
		}
		session, again := denylisttest.Session(1, "s"), denylisttest.Session(2, "s")
		subject := denylisttest.Subject(3, "u")
		subject.Cut, subject.Except = events.Position{}, ""
		apply(t, d, denylist.Batch{Entries: []events.Revocation{session, again, subject}})
		flush()
		for _, r := range []events.Revocation{session, again, subject} {
			wantVerdict(t, d, "s", true)
			apply(t, d, denylist.Batch{Lifted: []events.Lift{denylisttest.Lift(r)}})
			flush()
		}
		wantVerdict(t, d, "s", false)
		longer := session
		longer.Until = time.Time{}
		apply(t, d, denylist.Batch{Entries: []events.Revocation{session, again, subject, longer}}) // redelivered
		flush()
		wantVerdict(t, d, "s", false)
		apply(t, d, denylist.Batch{Entries: []events.Revocation{denylisttest.Session(4, "s")}}) // revoked anew
		wantVerdict(t, d, "s", true)
	}
}

// A lift that comes again counts to the later of its ends.
func TestLiftAgain(t *testing.T) {
	d := newList(t, memstore.New())
	r := denylisttest.Session(1, "s")
	long, short := denylisttest.Lift(r), denylisttest.Lift(r)
	short.Until = denylisttest.Now().Add(time.Second)
	for _, l := range []events.Lift{long, short} {
		apply(t, d, denylist.Batch{Lifted: []events.Lift{l}})
	}
	d.Expire(denylisttest.Now().Add(time.Minute))
	apply(t, d, denylist.Batch{Entries: []events.Revocation{r}})
	wantVerdict(t, d, "s", false)
}

// A lift that names another target, kind or issuer lifts nothing.
func TestLiftOfSomethingElse(t *testing.T) {
	r := denylisttest.Session(1, "s")
	for name, change := range map[string]func(l *events.Lift){
		"id":     func(l *events.Lift) { l.RevocationID = denylisttest.RevocationID(2) },
		"kind":   func(l *events.Lift) { l.Kind = events.KindToken },
		"issuer": func(l *events.Lift) { l.Issuer = "https://other.example" },
		"target": func(l *events.Lift) { l.Target = "x" },
	} {
		d := newList(t, memstore.New())
		l := denylisttest.Lift(r)
		change(&l)
		apply(t, d, denylist.Batch{Entries: []events.Revocation{r}, Lifted: []events.Lift{l}})
		t.Log(name)
		wantVerdict(t, d, "s", true)
	}
}

// A batch with anything malformed is refused whole: no cursor covers what is not
// enforced.
func TestMalformedBatch(t *testing.T) {
	store := memstore.New()
	d := newList(t, store)
	for _, b := range []denylist.Batch{
		{Entries: []events.Revocation{denylisttest.Session(1, "s"), {}}},
		{Entries: []events.Revocation{denylisttest.Session(1, "s")}, Lifted: []events.Lift{{}}},
	} {
		b.Cursor = denylist.Cursor{Epoch: "e", Sequence: 1}
		if err := d.Apply(b); !errors.Is(err, denylist.ErrEntry) {
			t.Errorf("%+v: %v", b, err)
		}
	}
	wantVerdict(t, d, "s", false)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := denylisttest.Read(t, store); d.Status().Cursor != (denylist.Cursor{}) || len(got.Entries) != 0 || got.Cursor != (denylist.Cursor{}) {
		t.Errorf("%+v; on disk %+v", d.Status(), got)
	}
}

// What is kept, and found, is in the form that stores keep.
func TestEntriesBecomeCanonical(t *testing.T) {
	r := denylisttest.Subject(1, "c")
	r.Kind, r.Cut, r.Except, r.Until = events.KindClient, events.Position{}, "s", r.Until.Add(time.Nanosecond)
	want, err := denylist.Canonical(r)
	if err != nil || want == r {
		t.Fatalf("%+v, %v", want, err)
	}
	l := denylisttest.Lift(denylisttest.Session(2, "s"))
	l.Signature = []byte("checked")
	store := memstore.New()
	d := newList(t, store)
	apply(t, d, denylist.Batch{Cursor: denylist.Cursor{Epoch: "e", Sequence: 5}})
	apply(t, d, denylist.Batch{Entries: []events.Revocation{r}, Lifted: []events.Lift{l}})
	if f, err := d.Lookup(t.Context(), tokenOf(d, "s"), denylisttest.Now()); err != nil || f.Revocation != want {
		t.Errorf("found %+v, %v; want %+v", f, err, want)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	got := denylisttest.Read(t, store)
	if len(got.Entries) != 1 || got.Entries[0] != want || len(got.Lifted) != 1 || got.Lifted[0].Signature != nil || got.Cursor.Sequence != 5 {
		t.Errorf("on disk: %+v", got)
	}
}

func TestConfirmedIsBounded(t *testing.T) {
	store := &faulty{Store: memstore.New()}
	d, err := denylist.New(denylist.Config{Confirmed: 10}, store)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		apply(t, d, denylist.Batch{Entries: []events.Revocation{denylisttest.Session(i, fmt.Sprint(i))}})
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		wantVerdict(t, d, fmt.Sprint(i), true)
	}
	store.finds.Store(0)
	for range 2 {
		for i := range 100 {
			wantVerdict(t, d, fmt.Sprint(i), true)
		}
	}
	if n := store.finds.Load(); n < 150 {
		t.Errorf("%d of 200 were asked for again: more than 10 are remembered", n)
	}
	store.finds.Store(0)
	for range 10 {
		wantVerdict(t, d, "99", true)
	}
	if n := store.finds.Load(); n > 1 {
		t.Errorf("one was asked for %d times", n)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []denylist.Config{{Expect: -1}, {Confirmed: -1}} {
		if _, err := denylist.New(cfg, memstore.New()); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// unloadable is a store that gives nothing but err, if that.
type unloadable struct {
	denylist.Store
	err error
}

func (u unloadable) Load() iter.Seq2[denylist.Batch, error] {
	return func(yield func(denylist.Batch, error) bool) {
		if u.err != nil {
			yield(denylist.Batch{}, u.err)
		}
	}
}

// A list that could not be loaded is not an empty one.
func TestNoListWithoutItsStore(t *testing.T) {
	for _, s := range []unloadable{{memstore.New(), errDisk}, {memstore.New(), nil}} {
		if _, err := denylist.New(denylist.Config{}, s); err == nil || s.err != nil && !errors.Is(err, s.err) {
			t.Errorf("%+v: %v", s.err, err)
		}
	}
}

// Look-ups that find nothing, or an entry whose cut spares the token, or a denial
// that is in memory, allocate nothing.
func TestLookupAllocatesNothing(t *testing.T) {
	d := newList(t, memstore.New())
	b := sessions("denied")
	spares := denylisttest.Subject(1, "u")
	spares.Cut.Sequence, spares.Except = 1, ""
	for i := range 10_000 {
		b.Entries = append(b.Entries, denylisttest.Session(i+10, string(denylisttest.RevocationID(i))))
	}
	apply(t, d, b)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	wantVerdict(t, d, "denied", true) // and is confirmed
	token := tokenOf(d, "s")
	now := denylisttest.Now()
	measure := func(name string, token *denylist.Token, denied bool) {
		if n := testing.AllocsPerRun(1000, func() {
			if f, err := d.Lookup(t.Context(), token, now); err != nil || f.Denied != denied {
				t.Fatalf("%s: %+v, %v", name, f, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	measure("nothing known", token, false)
	measure("denied", tokenOf(d, "denied"), true)
	apply(t, d, denylist.Batch{Entries: []events.Revocation{spares}})
	measure("spared by a cut", token, false)
}
