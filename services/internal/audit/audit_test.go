package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/audit"
	"github.com/revocast/revocast/services/internal/eventstore"
)

const (
	issuer = events.Issuer("http://127.0.0.1:8080")
	realm  = eventstest.Realm
)

// rig is a realm's streams and those who write to and read from them.
type rig struct {
	server  *eventstest.Server
	keyer   subject.Keyer
	root    ed25519.PrivateKey
	journal *eventstore.Journal
	feed    *eventstore.Feed
	notes   *eventstore.Notes
	past    *eventstore.History
	*audit.Audit
}

func newRig(t *testing.T, opts ...eventstest.Option) *rig {
	t.Helper()
	r := &rig{server: eventstest.RunServer(t, opts...)}
	conn := r.server.Connect(t, topology.Issuer)
	public, root, err1 := ed25519.GenerateKey(nil)
	keyer, err2 := subject.NewKeyer([]byte("a secret of sixteen bytes or more"))
	journal, err3 := eventstore.NewJournal(conn, realm.JournalStream())
	feed, err4 := eventstore.NewFeed(conn, realm.FeedStream())
	notes, err5 := eventstore.NewNotes(conn, realm.AuditStream())
	past, err6 := eventstore.NewHistory(conn, realm.AuditStream())
	live, err7 := eventstore.NewHistory(conn, realm.FeedStream())
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		t.Fatal(err)
	}
	r.root, r.keyer, r.journal, r.feed, r.notes, r.past = root, keyer, journal, feed, notes, past
	r.Audit = audit.New(audit.Config{Realm: realm, Keyer: keyer, Issuer: issuer, Root: public}, past, live)
	return r
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func envelope(e events.Event) events.Envelope {
	return events.Envelope{ID: events.EventID(newID()), At: time.Now(), Event: e}
}

func (r *rig) key(sub events.Subject) events.SubjectKey {
	return r.keyer.Key(events.KindSubject, issuer, string(sub))
}

func (r *rig) append(t *testing.T, n events.Session, after events.Position, e events.Event, rollup bool) events.Position {
	t.Helper()
	at, err := r.journal.Append(t.Context(), events.Append{
		Subject: realm.Session(r.key(n.Subject), n.ID), Envelope: envelope(e), After: after.Sequence, Rollup: rollup,
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// secret bytes of a session that no answer may show.
var (
	salt       = bytes.Repeat([]byte("salt"), 8)
	secretHash = bytes.Repeat([]byte("hash"), 8)
)

func session(sub events.Subject) events.Session {
	now := time.Now()
	return events.Session{
		ID: events.SessionID(newID()), Issuer: issuer, Subject: sub, Client: "mobile", Salt: salt, KeyID: "mac-key-canary",
		DeviceID: "device-1", DeviceName: "Phone of " + string(sub), DeviceSecretHash: secretHash, Network: "network-canary",
		AuthTime: now, MintedAt: now, AccessExpires: now.Add(time.Minute), Deadline: now.Add(time.Hour), NewDevice: true,
	}
}

// live is a whole session: started, refreshed, revoked and compacted.
func (r *rig) live(t *testing.T, sub events.Subject) (events.Session, events.Position, events.Position) {
	t.Helper()
	n := session(sub)
	began := r.append(t, n, events.Position{}, events.SessionStarted{Session: n}, false)
	n.Began, n.Generation = began, 1
	refreshed := r.append(t, n, began, events.SessionRefreshed{Session: n}, false)
	n.Ended = &events.Ending{
		RevocationID: events.RevocationID(newID()), Reason: "lost_device", At: time.Now(),
		By: events.Initiator{Role: "operator", Name: "sam"},
	}
	ended := r.append(t, n, refreshed, events.SessionRevoked{Session: n}, false)
	r.settle(t) // as the finisher, which has it from AUDIT
	r.append(t, n, ended, events.SessionRevoked{Session: n}, true)
	return n, refreshed, ended
}

func (r *rig) note(t *testing.T, n events.Note) {
	t.Helper()
	n.Issuer = issuer
	if err := r.notes.Note(t.Context(), realm.Note(n.Issuer, n.Subject), envelope(events.Noted{Note: n})); err != nil {
		t.Fatal(err)
	}
}

// revoke announces n as an issuer does and gives it back complete.
func (r *rig) revoke(t *testing.T, n events.Revocation) events.Revocation {
	t.Helper()
	n.ID = events.RevocationID(newID())
	if n.Issuer == "" {
		n.Issuer = issuer
	}
	if n.Reason == "" {
		n.Reason = events.ReasonAdmin
	}
	if n.By.Role == "" {
		n.By = events.Initiator{Role: "operator", Name: "sam"}
	}
	if n.Until.IsZero() {
		n.Until = time.Now().Add(time.Hour)
	}
	r.announce(t, n)
	return n
}

func (r *rig) announce(t *testing.T, n events.Revocation) {
	t.Helper()
	if _, err := r.feed.Publish(t.Context(), realm.FeedEntry(n.Kind, n.Issuer, n.Target), envelope(events.Revoked{Revocation: n}), time.Until(n.Until)); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) lift(t *testing.T, root ed25519.PrivateKey, n events.Revocation) {
	t.Helper()
	l := codec.SignLift(root, realm, events.Lift{RevocationID: n.ID, Kind: n.Kind, Issuer: n.Issuer, Target: n.Target, Until: n.Until})
	if _, err := r.feed.Publish(t.Context(), realm.FeedLift(l.Issuer, l.Target), envelope(events.Lifted{Lift: l}), time.Until(l.Until)); err != nil {
		t.Fatal(err)
	}
}

// settle waits until AUDIT has taken over what was written, and gives the broker's time
// by then: all that was written before is no later, all that comes is later.
func (r *rig) settle(t *testing.T) time.Time {
	t.Helper()
	marker := r.revoke(t, events.Revocation{Kind: events.KindToken, Target: newID()})
	n := session("marker")
	r.append(t, n, events.Position{}, events.SessionStarted{Session: n}, false)
	var at time.Time
	eventstest.Eventually(t, func(ctx context.Context) error {
		seen := 0
		for p, err := range r.past.Read(ctx, eventstore.Range{Subjects: []string{realm.Audit()}}) {
			if err != nil {
				return err
			}
			if p.Time.After(at) {
				at = p.Time
			}
			switch e := p.Envelope.Event.(type) {
			case events.Revoked:
				if e.Revocation.ID == marker.ID {
					seen++
				}
			case events.SessionStarted:
				if e.Session.ID == n.ID {
					seen++
				}
			}
		}
		if seen != 2 {
			return errors.New("AUDIT has not got everything")
		}
		return nil
	})
	return at
}

func (r *rig) history(t *testing.T, q audit.Query) []audit.Entry {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = audit.MaxLimit
	}
	page, err := r.History(t.Context(), q)
	if err != nil || page.Unreadable != 0 {
		t.Fatalf("%+v, %v", page, err)
	}
	return page.Entries
}

// told is what entries say in few words.
func told(list []audit.Entry) string {
	var b strings.Builder
	for _, e := range list {
		fmt.Fprintf(&b, "%s%s by %s %s;", e.Type, e.Action, e.By.Role, e.By.Name)
	}
	return b.String()
}

func TestHistoryUnderTheRightNames(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, refreshed, ended := r.live(t, "alice")
	other, _, _ := r.live(t, "bob")
	cut := r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: "alice", Cut: ended, Except: other.ID})
	r.settle(t)
	r.note(t, events.Note{
		Action: events.ActionLoginFailed, By: events.Initiator{Role: "user"}, Subject: "alice", Client: "mobile", Address: "192.0.2.7", Detail: "wrong password",
	})
	r.revoke(t, events.Revocation{Kind: events.KindSession, Target: string(n.ID)})
	r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: "alice", Issuer: "https://elsewhere.example"})
	r.settle(t)

	alice := r.history(t, audit.Query{Subject: "alice"})
	const life = "session_started by user ;session_refreshed by client mobile;session_revoked by operator sam;"
	if got := told(alice); got != life+"revoked by operator sam;noted"+string(events.ActionLoginFailed)+" by user ;" &&
		got != "revoked by operator sam;"+life+"noted"+string(events.ActionLoginFailed)+" by user ;" {
		// The feed and the journal are sourced each by itself.
		t.Errorf("alice: %s", got)
	}
	for _, e := range alice {
		if e.Subject != "alice" || e.Issuer != string(issuer) || e.At.IsZero() || e.Cursor == "" {
			t.Errorf("got %+v", e)
		}
		switch e.Type {
		case "session_started":
			if e.Session != string(n.ID) || e.Client != "mobile" || e.DeviceName != "Phone of alice" || e.SessionAt != n.Began.String() ||
				e.Position != n.Began.String() || e.Detail != "from a new device" {
				t.Errorf("started: %+v", e)
			}
		case "session_refreshed":
			if e.SessionAt != n.Began.String() || e.Position != refreshed.String() {
				t.Errorf("refreshed: %+v", e)
			}
		case "session_revoked":
			if e.Reason != "lost_device" || e.RevocationID != string(n.Ended.RevocationID) || e.Position != ended.String() {
				t.Errorf("ended: %+v", e)
			}
		case "revoked":
			if e.RevocationID != string(cut.ID) || e.Kind != "subject" || e.Cut != ended.String() || e.ExceptSession != string(other.ID) || e.Scope != "sessions" {
				t.Errorf("revoked: %+v", e)
			}
		case "noted":
			if e.Address != "192.0.2.7" || e.Detail != "wrong password" || e.Client != "mobile" || e.Position != "" {
				t.Errorf("noted: %+v", e)
			}
		}
	}

	bySession := r.history(t, audit.Query{Session: n.ID})
	if got := told(bySession); got != life+"revoked by operator sam;" {
		t.Errorf("by session: %s", got)
	}
	// The exception of a cut is news of the session that it spares.
	if got := told(r.history(t, audit.Query{Session: other.ID})); !strings.Contains(got, life) || strings.Count(got, "revoked by") != 2 {
		t.Errorf("by the other session: %s", got)
	}
	if got := r.history(t, audit.Query{Subject: "alice", Session: other.ID}); len(got) != 1 || got[0].Type != "revoked" {
		t.Errorf("alice and bob's session: %s", told(got))
	}
	if got := r.history(t, audit.Query{Subject: "alice", Issuer: "https://elsewhere.example"}); len(got) != 1 || got[0].Issuer != "https://elsewhere.example" {
		t.Errorf("alice of another issuer: %s", told(got))
	}
	if got := r.history(t, audit.Query{Client: "mobile", Subject: "nobody"}); len(got) != 0 {
		t.Errorf("nobody: %s", told(got))
	}
	if got := told(r.history(t, audit.Query{Client: "mobile"})); strings.Count(got, "session_started") != 6 || strings.Count(got, "noted") != 1 {
		t.Errorf("by client: %s", got)
	}
	if got := told(r.history(t, audit.Query{})); strings.Count(got, "session_started") != 6 || strings.Count(got, "revoked by operator sam") != 9 {
		t.Errorf("all: %s", got)
	}
}

// Where it looks for a subject is where the server put it, whatever the subject.
func TestShardsAreTheServers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const subjects = 40
	for i := range subjects {
		n := session(events.Subject(fmt.Sprint("user-", i)))
		r.append(t, n, events.Position{}, events.SessionStarted{Session: n}, false)
		r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: string(n.Subject)})
	}
	r.settle(t)
	for i := range subjects {
		if got := r.history(t, audit.Query{Subject: events.Subject(fmt.Sprint("user-", i))}); len(got) != 2 {
			t.Errorf("user-%d: %s", i, told(got))
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const all = 25
	for i := range all {
		r.note(t, events.Note{Action: "n", By: events.Initiator{Role: "user"}, Subject: "alice", Detail: strconv.Itoa(i)})
		r.note(t, events.Note{Action: "n", By: events.Initiator{Role: "user"}, Subject: "bob"})
	}
	q, got := audit.Query{Subject: "alice", Limit: 10}, []audit.Entry(nil)
	for pages := 1; ; pages++ {
		page, err := r.History(t.Context(), q)
		if err != nil || len(page.Entries) > q.Limit {
			t.Fatalf("%d entries, %v", len(page.Entries), err)
		}
		got = append(got, page.Entries...)
		if page.Next == "" {
			break
		}
		if page.Next != page.Entries[len(page.Entries)-1].Cursor || pages > 3 {
			t.Fatalf("page %d goes on at %s, %d entries so far", pages, page.Next, len(got))
		}
		if q.After, err = strconv.ParseUint(page.Next, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range got {
		if e.Detail != strconv.Itoa(i) {
			t.Fatalf("entry %d is %q", i, e.Detail)
		}
	}
	if len(got) != all {
		t.Fatalf("%d entries", len(got))
	}
	// From and To take in their own moments.
	part := r.history(t, audit.Query{Subject: "alice", From: got[5].At, To: got[7].At})
	if len(part) != 3 || part[0].Detail != "5" || part[2].Detail != "7" {
		t.Errorf("a part: %+v", part)
	}
	if part = r.history(t, audit.Query{Subject: "alice", From: time.Now().Add(time.Hour)}); len(part) != 0 {
		t.Errorf("the future: %+v", part)
	}
}

// INV-6: of what a session is made of nothing shows that helps to forge anything.
func TestNothingSecretIsShown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, _, _ := r.live(t, "alice")
	cut := r.revoke(t, events.Revocation{Kind: events.KindSubject, Target: "alice"})
	r.lift(t, r.root, cut)
	jwk := []byte(`{"kty":"EC","x":"jwk-canary"}`)
	key := codec.SignKey(r.root, realm, events.Key{ID: "kid-1", Issuer: issuer, Algorithm: "ES256", JWK: jwk})
	if _, err := r.feed.Publish(t.Context(), realm.FeedKeys(), envelope(events.KeyAdded{Key: key}), time.Hour); err != nil {
		t.Fatal(err)
	}
	at := r.settle(t)
	verdict, err := r.At(t.Context(), audit.Question{At: at, Token: events.Facts{Subject: "alice", IssuedAt: time.Now().Unix()}})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(map[string]any{"history": r.history(t, audit.Query{}), "verdict": verdict})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"session_started", "session_refreshed", "session_revoked", "revoked", "lifted", "key_added"} {
		if !bytes.Contains(shown, []byte(`"`+kind+`"`)) {
			t.Errorf("no %s is shown", kind)
		}
	}
	lift := codec.SignLift(r.root, realm, events.Lift{RevocationID: cut.ID, Kind: cut.Kind, Issuer: cut.Issuer, Target: cut.Target, Until: cut.Until})
	for name, canary := range map[string][]byte{
		"salt": salt, "device secret's hash": secretHash, "network": []byte(n.Network), "MAC key": []byte(n.KeyID),
		"subject key": []byte(r.key("alice")), "JWK": []byte("jwk-canary"), "signature": key.Signature, "lift's signature": lift.Signature,
	} {
		for _, form := range []string{
			string(canary), hex.EncodeToString(canary), base64.StdEncoding.EncodeToString(canary), base64.RawURLEncoding.EncodeToString(canary),
		} {
			if bytes.Contains(shown, []byte(form)) {
				t.Errorf("%s is shown", name)
			}
		}
	}
}
