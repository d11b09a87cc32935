package syncer_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/snapshot"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/syncer"
)

// publisher writes snapshots as an issuer does, or as one should not.
type publisher struct {
	js   jetstream.JetStream
	root ed25519.PrivateKey
}

func newPublisher(t testing.TB, server *eventstest.Server) (p publisher, root ed25519.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(server.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	return publisher{js, private}, public
}

func (p publisher) publish(t testing.TB, subject string, body []byte) uint64 {
	t.Helper()
	ack, err := p.js.Publish(t.Context(), subject, body)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// write packs the feed's messages up to its last, each chunk changed by the test, and
// gives the manifest that belongs to them.
func (p publisher) write(t testing.TB, change func(i int, chunk []byte) []byte) snapshot.Manifest {
	t.Helper()
	stream, err := p.js.Stream(t.Context(), realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	info := stream.CachedInfo()
	m := snapshot.Manifest{
		Epoch: events.Epoch(info.Config.Metadata[topology.EpochKey]), Sequence: info.State.LastSeq, AsOf: info.State.LastTime,
	}
	packer := &snapshot.Packer{Now: info.TimeStamp}
	flush := func() {
		chunk, n := packer.Chunk()
		sequence := p.publish(t, realm.SnapshotChunk(len(m.Chunks)), change(len(m.Chunks), slices.Clone(chunk)))
		if m.First == 0 {
			m.First = sequence
		}
		m.Chunks, m.Events = append(m.Chunks, sha256.Sum256(chunk)), m.Events+uint64(n)
	}
	n := 0
	for sequence := info.State.FirstSeq; sequence <= m.Sequence; sequence++ {
		msg, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			continue // expired
		}
		if n++; packer.Add(msg.Data) || n%7 == 0 {
			flush()
		}
	}
	flush()
	return m
}

func unchanged(_ int, chunk []byte) []byte { return chunk }

func (p publisher) seal(t testing.TB, m snapshot.Manifest) {
	t.Helper()
	sealed, err := m.Seal(p.root, realm)
	if err != nil {
		t.Fatal(err)
	}
	p.publish(t, realm.SnapshotManifest(), sealed)
}

// A sidecar that starts from nothing begins with the snapshot: here the feed has
// nothing else of what is in it. It is fresh by a heartbeat all the same, and goes on
// with what came after.
func TestBeginsWithASnapshot(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	p, root := newPublisher(t, server)
	writer := newIssuer(t, server)
	var packed []events.RevocationID
	for range 30 {
		packed = append(packed, writer.revoke(t, nil))
	}
	m := p.write(t, unchanged)
	p.seal(t, m)
	after := writer.revoke(t, nil)
	feed, err := superuser(t, server).Stream(t.Context(), realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	if err := feed.Purge(t.Context(), jetstream.WithPurgeSequence(m.Sequence+1)); err != nil {
		t.Fatal(err)
	}

	l := newList()
	began := time.Now()
	s, stop := follow(t, syncer.Config{URL: server.URL(), Options: server.Options(topology.Sidecar), Root: root}, l)
	fresh(t, s, began)
	if st := s.State(); st.Snapshots != 1 || !l.has(packed...) || !l.has(after) {
		t.Errorf("%d entries, state %+v", l.size(), st)
	}
	stop()

	// Who pins no root believes none.
	l = newList()
	s, _ = follow(t, syncer.Config{URL: server.URL(), Options: server.Options(topology.Sidecar)}, l)
	fresh(t, s, time.Now())
	if st := s.State(); st.Snapshots != 0 || l.has(packed[0]) || !l.has(after) {
		t.Errorf("without a root: %d entries, state %+v", l.size(), st)
	}
}

// Whatever is wrong with a snapshot, the feed is read instead, and nothing is missing.
func TestSnapshotsNotToBeBelieved(t *testing.T) {
	t.Parallel()
	empty, _ := (&snapshot.Packer{}).Chunk()
	for name, publish := range map[string]func(t *testing.T, p publisher){
		"none": func(*testing.T, publisher) {},
		"no manifest": func(t *testing.T, p publisher) {
			t.Helper()
			p.publish(t, realm.SnapshotManifest(), []byte("no manifest"))
		},
		"signed by another": func(t *testing.T, p publisher) {
			t.Helper()
			_, p.root, _ = ed25519.GenerateKey(nil)
			p.seal(t, p.write(t, unchanged))
		},
		"of another epoch": func(t *testing.T, p publisher) {
			t.Helper()
			m := p.write(t, unchanged)
			m.Epoch = "another"
			p.seal(t, m)
		},
		"half written": func(t *testing.T, p publisher) {
			t.Helper()
			m := p.write(t, unchanged)
			m.Chunks = append(m.Chunks, sha256.Sum256(empty))
			p.seal(t, m)
		},
		"damaged": func(t *testing.T, p publisher) {
			t.Helper()
			p.seal(t, p.write(t, func(i int, chunk []byte) []byte {
				if i == 2 {
					chunk[len(chunk)/2] ^= 1
				}
				return chunk
			}))
		},
		"a chunk is empty": func(t *testing.T, p publisher) {
			t.Helper()
			p.seal(t, p.write(t, func(i int, chunk []byte) []byte {
				if i == 2 {
					return empty
				}
				return chunk
			}))
		},
		"begins elsewhere": func(t *testing.T, p publisher) {
			t.Helper()
			m := p.write(t, unchanged)
			m.First++
			p.seal(t, m)
		},
		"says less than it should hold": func(t *testing.T, p publisher) {
			t.Helper()
			m := p.write(t, unchanged)
			m.Events++
			p.seal(t, m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := eventstest.RunServer(t)
			p, root := newPublisher(t, server)
			writer := newIssuer(t, server)
			var ids []events.RevocationID
			for range 20 {
				ids = append(ids, writer.revoke(t, nil))
			}
			publish(t, p)
			l := newList()
			s, _ := follow(t, syncer.Config{URL: server.URL(), Options: server.Options(topology.Sidecar), Root: root}, l)
			fresh(t, s, time.Now())
			if st := s.State(); st.Snapshots != 0 || !l.has(ids...) {
				t.Errorf("%d of %d entries, state %+v", l.size(), len(ids), st)
			}
		})
	}
}
