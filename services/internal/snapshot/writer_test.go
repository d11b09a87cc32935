package snapshot_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	form "github.com/revocast/revocast/events/snapshot"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/snapshot"
)

const realm = eventstest.Realm

func revocation(n int) events.Revocation {
	id := fmt.Sprintf("01935f6a-0c00-7000-8000-%012x", n)
	return events.Revocation{
		ID: events.RevocationID(id), Kind: events.KindSession, Issuer: "https://id.example", Target: id,
		Reason: events.ReasonLogout, By: events.Initiator{Role: "user"}, Until: time.Unix(4102444800, 0).UTC(),
	}
}

func newWriter(t *testing.T, s *eventstest.Server, root ed25519.PrivateKey, least uint64) *snapshot.Writer {
	t.Helper()
	w, err := snapshot.New(snapshot.Config{Realm: realm, Interval: time.Hour, Least: least},
		s.Connect(t, topology.Issuer), root, zaptest.NewLogger(t), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t *testing.T, w *snapshot.Writer) form.Manifest {
	t.Helper()
	m, err := w.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// get asks for messages of the snapshots as a sidecar may.
func get(t *testing.T, nc *nats.Conn, body string) []byte {
	t.Helper()
	m, err := nc.Request("$JS.API.DIRECT.GET."+realm.SnapshotStream(), []byte(body), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Status") != "" {
		t.Fatalf("%s: status %s", body, m.Header.Get("Status"))
	}
	return m.Data
}

// load reads the last snapshot with a sidecar's credentials.
func load(t *testing.T, s *eventstest.Server, root ed25519.PublicKey) (form.Manifest, map[events.RevocationID]int) {
	t.Helper()
	nc := s.Connect(t, topology.Sidecar)
	m, err := form.Open(root, realm, get(t, nc, fmt.Sprintf(`{"last_by_subj":%q,"no_hdr":true}`, realm.SnapshotManifest())))
	if err != nil {
		t.Fatal(err)
	}
	got := map[events.RevocationID]int{}
	for i := range m.Chunks {
		chunk := get(t, nc, fmt.Sprintf(`{"seq":%d,"no_hdr":true}`, m.First+uint64(i)))
		if !m.Holds(i, chunk) {
			t.Fatalf("chunk %d is not the one that was signed", i)
		}
		c, err := form.Unpack(chunk)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range c.Entries {
			got[r.ID]++
		}
	}
	return m, got
}

// Everything that the feed holds is in it, under the root's signature; the next is
// written when enough has changed.
func TestWrites(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Lazy())
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter(t, s, private, 100)
	if m := write(t, w); m.Sequence != 0 {
		t.Fatalf("a snapshot of next to nothing: %+v", m)
	}
	const n = 20_000 // more than one chunk
	s.Announce(t, n, revocation)
	want := map[events.RevocationID]int{}
	for i := range n {
		want[revocation(i).ID] = 1
	}
	first := write(t, w)
	m, got := load(t, s, public)
	if m.Sequence != first.Sequence || m.Events != n || len(m.Chunks) < 2 || !maps.Equal(got, want) {
		t.Fatalf("%d of %d entries in %d chunks: %+v", len(got), n, len(m.Chunks), first)
	}
	if feed := info(t, s, realm.FeedStream()); string(m.Epoch) != feed.Config.Metadata[topology.EpochKey] ||
		m.Sequence > feed.State.LastSeq || m.AsOf.After(feed.State.LastTime) {
		t.Errorf("manifest %+v of a feed that is %+v", m, feed)
	}
	if again := write(t, w); again.Sequence != 0 {
		t.Errorf("written again within the interval: %+v", again)
	}
	if _, err := form.Open(make(ed25519.PublicKey, ed25519.PublicKeySize), realm, nil); err == nil {
		t.Error("nothing is a manifest")
	}
}

func info(t *testing.T, s *eventstest.Server, stream string) *jetstream.StreamInfo {
	t.Helper()
	js, err := jetstream.New(s.Superuser(t, topology.Issuer.Account()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return got.CachedInfo()
}

// Of several issuers that find one due, one writes.
func TestOneWrites(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Lazy())
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Announce(t, 500, revocation)
	var (
		work    sync.WaitGroup
		mu      sync.Mutex
		written int
	)
	for range 4 {
		w := newWriter(t, s, private, 100)
		work.Go(func() {
			m, err := w.Write(t.Context())
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if m.Sequence > 0 {
				written++
			}
		})
	}
	work.Wait()
	if written != 1 {
		t.Errorf("%d issuers wrote one", written)
	}
	load(t, s, public)
}

// A manifest of a feed that is gone, or that is none, is followed by a good one.
func TestReplacesWhatIsNotGood(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Lazy())
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Announce(t, 500, revocation)
	js, err := jetstream.New(s.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), realm.SnapshotManifest(), []byte("no manifest")); err != nil {
		t.Fatal(err)
	}
	if m := write(t, newWriter(t, s, private, 100)); m.Events != 500 {
		t.Errorf("wrote %+v", m)
	}
	load(t, s, public)
}

// Run writes without being asked, and ends when it is told to.
func TestRun(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Lazy())
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Announce(t, 500, revocation)
	w, err := snapshot.New(snapshot.Config{Realm: realm, Interval: 10 * time.Millisecond, Least: 100},
		s.Connect(t, topology.Issuer), private, zaptest.NewLogger(t), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	eventstest.Eventually(t, func(context.Context) error {
		if n := info(t, s, realm.SnapshotStream()).State.NumSubjects; n < 3 {
			return fmt.Errorf("%d subjects", n)
		}
		return nil
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := snapshot.New(snapshot.Config{Realm: realm}, nil, private, zaptest.NewLogger(t), prometheus.NewRegistry()); err == nil {
		t.Error("an interval of nothing was accepted")
	}
}
