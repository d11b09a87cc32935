package syncer_test

import (
	"crypto/ed25519"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/replica"
	"github.com/revocast/revocast/sidecar/internal/syncer"
)

func TestFollowsFromTheBeginning(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	issuer := newIssuer(t, server)
	before := issuer.revoke(t, nil)

	l := newList()
	started := time.Now()
	s, _ := followServer(t, server, l)
	if st := s.State(); st.CaughtUp || !st.FreshAsOf.IsZero() {
		t.Errorf("claims before anything was applied: %+v", st)
	}
	fresh(t, s, started)
	if !l.has(before) {
		t.Error("fresh without the entry from before the start")
	}
	live := issuer.revoke(t, nil)
	eventually(t, "the live entry", func() bool { return l.has(live) })

	st := s.State()
	if st.Epoch == "" || st.Repairs+st.Resyncs+st.Malformed+st.Unknown+s.Rejected() != 0 {
		t.Errorf("state after an undisturbed start: %+v", st)
	}
	if skew := st.Skew(clock.Now(), clock.Elapsed()); skew < -time.Second || skew > patience {
		t.Errorf("skew against the same clock: %v", skew)
	}
}

// Who can publish to the feed can put the server's headers on a message. Neither
// value is believed then, and the message is read from the stream.
func TestForgedHeadersAreNotBelieved(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	issuer := newIssuer(t, server)
	l := newList()
	s, _ := followServer(t, server, l)
	fresh(t, s, time.Time{})

	forged := []nats.Header{
		{"Nats-Sequence": {"1"}},
		{"Nats-Sequence": {"9007199254740991"}},
		{"Nats-Stream": {realm.FeedStream()}},
		{"Nats-Time-Stamp": {"2099-01-01T00:00:00Z"}},
		{"Nats-Stream": {"X"}, "Nats-Sequence": {"2"}, "Nats-Time-Stamp": {"x"}},
	}
	var ids []events.RevocationID
	for _, header := range forged {
		ids = append(ids, issuer.revoke(t, header))
	}
	eventually(t, "the entries with forged headers", func() bool { return l.has(ids...) })
	fresh(t, s, time.Now())
	if n := s.Rejected(); n < uint64(len(forged)) {
		t.Errorf("only %d of %d were not believed", n, len(forged))
	}
	if st := s.State(); st.Repairs == 0 || st.Resyncs != 0 {
		t.Errorf("state: %+v", st)
	}
}

func TestUnusableEventsStopNothing(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	issuer := newIssuer(t, server)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	l := newList()
	s, _ := follow(t, syncer.Config{
		URL: server.URL(), Options: server.Options(topology.Sidecar), Root: public,
	}, l)
	fresh(t, s, time.Time{})

	subject := realm.FeedLift("https://id.example", uuid(1))
	lift := events.Lift{
		RevocationID: events.RevocationID(uuid(1)), Kind: events.KindToken, Issuer: "https://id.example",
		Target: uuid(1), Until: time.Unix(4102444800, 0),
	}
	forged := lift
	forged.RevocationID = events.RevocationID(uuid(2))
	forged.Signature = make([]byte, ed25519.SignatureSize)
	elsewhere := codec.SignLift(private, "other", forged)

	issuer.publish(t, subject, []byte("no event"), nil)
	issuer.publish(t, subject, encode(t, 1, events.Lifted{Lift: forged}), nil)
	issuer.publish(t, subject, encode(t, 2, events.Lifted{Lift: elsewhere}), nil)
	issuer.publish(t, subject, encode(t, 3, events.Lifted{Lift: codec.SignLift(private, realm, lift)}), nil)
	issuer.publish(t, subject, ofUnknownKind(t), nil)
	after := issuer.revoke(t, nil)
	eventually(t, "the entry after them", func() bool { return l.has(after) })

	if !l.lifted(lift.RevocationID) || l.lifted(forged.RevocationID) {
		t.Error("not exactly the signed lift was taken")
	}
	if st := s.State(); st.Malformed != 1 || st.Unsigned != 2 || st.Unknown != 1 {
		t.Errorf("state: %+v", st)
	}

	// The same through a fetch.
	again := newList()
	s, _ = follow(t, syncer.Config{URL: server.URL(), Options: server.Options(topology.Sidecar), Root: public}, again)
	fresh(t, s, time.Time{})
	if !again.has(after) || !again.lifted(lift.RevocationID) || again.lifted(forged.RevocationID) {
		t.Error("not exactly the signed lift was fetched")
	}
	if st := s.State(); st.Malformed != 1 || st.Unsigned != 2 || st.Unknown != 1 {
		t.Errorf("state after fetching: %+v", st)
	}
}

// ofUnknownKind is an event as a later version may send it: field 127 of the oneof.
func ofUnknownKind(t *testing.T) []byte {
	t.Helper()
	known := encode(t, 4, events.BarrierPassed{}) // ends with an empty field 27
	return append(known[:len(known)-3], 0xfa, 0x07, 0x00)
}

func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	l := newList()
	s, _ := followServer(t, server, l)
	fresh(t, s, time.Time{})

	server.Stop()
	eventually(t, "offline", func() bool { return s.State().Phase == replica.Offline })
	stale := s.State()
	server.Start(t)
	id := newIssuer(t, server).revoke(t, nil)
	back := time.Now()
	fresh(t, s, back)
	st := s.State()
	if !l.has(id) || st.Epoch != stale.Epoch || st.Sequence <= stale.Sequence || st.Resyncs != 0 {
		t.Errorf("after the restart %+v, before %+v", st, stale)
	}
}

// A warm store serves on while the broker is away, as fresh as it was and no
// fresher, and goes on from its cursor.
func TestBrokerDownAtStart(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	issuer := newIssuer(t, server)
	first := issuer.revoke(t, nil)
	l := newList()
	s, stop := followServer(t, server, l)
	fresh(t, s, time.Time{})
	stop()
	cursor := l.stored()
	missed := issuer.revoke(t, nil)
	server.Stop()

	l.mu.Lock()
	clear(l.entries) // to see that what was applied once is not fetched again
	l.mu.Unlock()
	s, _ = followServer(t, server, l)
	if st := s.State(); st.Cursor != cursor || st.CaughtUp || st.Phase != replica.Offline {
		t.Errorf("without a broker: %+v, stored %+v", st, cursor)
	}
	server.Start(t)
	fresh(t, s, cursor.FreshAsOf)
	if st := s.State(); st.Resyncs != 0 || st.Epoch != cursor.Epoch {
		t.Errorf("state: %+v", st)
	}
	if !l.has(missed) || l.has(first) {
		t.Error("did not go on from the cursor")
	}
}

// A feed made anew is followed from its beginning; what was denied stays denied.
func TestNewEpoch(t *testing.T) {
	t.Parallel()
	old, anew := eventstest.RunServer(t), eventstest.RunServer(t)
	creds := filepath.Join(t.TempDir(), "sidecar.creds")
	trust := func(server *eventstest.Server) {
		b, err := os.ReadFile(server.Credentials(topology.Sidecar))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(creds, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust(old)
	kept := newIssuer(t, old).revoke(t, nil)
	l := newList()
	s, _ := follow(t, syncer.Config{
		URL: old.URL() + "," + anew.URL(), Options: []nats.Option{nats.UserCredentials(creds)},
	}, l)
	fresh(t, s, time.Time{})
	was := s.State()

	issuer := newIssuer(t, anew)
	issuer.next = 100
	id := issuer.revoke(t, nil)
	trust(anew)
	old.Stop()
	eventually(t, "the new epoch", func() bool { return s.State().Epoch != was.Epoch })
	fresh(t, s, was.FreshAsOf)
	if st := s.State(); st.Resyncs != 1 {
		t.Errorf("state: %+v", st)
	}
	if !l.has(kept, id) {
		t.Error("an entry of either epoch is missing")
	}
}

// A server cut off from the others still answers reads, and believes for a while
// that it leads. Nothing it says makes the view fresher.
func TestIsolatedServerProvesNothing(t *testing.T) {
	t.Parallel()
	cluster := eventstest.RunCluster(t, 3)
	leader := cluster.WaitLeader(t, topology.Issuer.Account(), realm.FeedStream())
	l := newList()
	s, _ := follow(t, syncer.Config{
		URL: cluster.Nodes[leader].URL(), Options: cluster.Options(topology.Sidecar),
	}, l)
	fresh(t, s, time.Time{})

	cluster.Isolate(leader)
	cut := time.Now()
	eventually(t, "silence", func() bool { return s.State().Phase == replica.CatchUp })
	reader := cluster.Nodes[leader].Connect(t, topology.Sidecar)
	eventually(t, "the isolated server answers a read", func() bool {
		// Some requests go to the others, and are held back.
		_, err := reader.Request("$JS.API.DIRECT.GET."+realm.FeedStream(), []byte(`{"seq":1,"batch":1}`), time.Second/4)
		return err == nil
	})
	others := cluster.Nodes[(leader+1)%len(cluster.Nodes)]
	id := newIssuer(t, others).revoke(t, nil)
	if st := s.State(); st.FreshAsOf.After(cut) {
		t.Errorf("fresh as of %v after it was cut off: %+v", st.FreshAsOf.Sub(cut), st)
	}
	cluster.Heal(leader)
	fresh(t, s, time.Now())
	if !l.has(id) {
		t.Error("fresh without what was published elsewhere meanwhile")
	}
}

// What the denylist does not take is not claimed, and is offered again.
func TestRefusedApply(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	issuer := newIssuer(t, server)
	l := newList()
	s, _ := followServer(t, server, l)
	fresh(t, s, time.Time{})

	l.fail(errors.New("over budget"))
	eventually(t, "a refusal", func() bool { return s.State().FailedApplies > 0 })
	refused := s.State()
	id := issuer.revoke(t, nil)
	more := s.State().FailedApplies + 2
	eventually(t, "more refusals", func() bool { return s.State().FailedApplies >= more })
	if st := s.State(); st.Cursor != refused.Cursor {
		t.Errorf("claims %+v, refused since %+v", st.Cursor, refused.Cursor)
	}
	l.fail(nil)
	fresh(t, s, refused.FreshAsOf)
	if !l.has(id) {
		t.Error("fresh without the entry that was refused")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	deps := syncer.Deps{Denylist: newList(), Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}
	good := syncer.Config{Realm: realm, URL: "nats://127.0.0.1:1", ID: "a", Instance: instance}
	if _, err := syncer.New(good, deps); err != nil {
		t.Fatal(err)
	}
	if _, err := syncer.New(good, deps); err == nil {
		t.Error("registered its metrics twice")
	}
	_, err := syncer.New(syncer.Config{Realm: "A.b", ID: "a b", Root: make([]byte, 3)}, deps)
	if err == nil {
		t.Fatal("accepted nonsense")
	}
	for _, fault := range []string{"realm", "URL", "root key", "sidecar id", "instance"} {
		if !strings.Contains(err.Error(), fault) {
			t.Errorf("no word about the %s: %v", fault, err)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	cursor := replica.Cursor{Epoch: "A", Sequence: 41, FreshAsOf: time.Unix(1000, 500_000_000)}
	_, err := syncer.New(syncer.Config{Realm: realm, URL: "nats://127.0.0.1:1", ID: "a", Instance: instance}, syncer.Deps{
		Denylist: newList(), Cursor: cursor, Log: zap.NewNop(), Metrics: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[strings.TrimPrefix(f.GetName(), "revocast_sidecar_feed_")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	want := map[string]float64{
		"connected": 0, "following": 0, "caught_up": 0, "applied_sequence": 41, "lag": 0,
		"fresh_as_of_timestamp_seconds": 1000.5, "clock_skew_seconds": 0,
		"resyncs_total": 0, "snapshots_total": 0, "repairs_total": 0, "overflows_total": 0, "duplicates_total": 0,
		"failed_fetches_total": 0, "failed_applies_total": 0, "malformed_total": 0, "unknown_total": 0,
		"unsigned_total": 0, "ignored_total": 0, "rejected_total": 0,
		"revocast_sidecar_propagation_seconds": 0,
	}
	if !maps.Equal(got, want) {
		t.Errorf("metrics %v, want %v", got, want)
	}
}
