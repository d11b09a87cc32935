package syncer_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/sidecar/internal/syncer"
)

// The broker's directory is put back to an older copy of itself, the epoch with it,
// and the feed's numbers have passed the sidecar's cursor again before it looks. What
// was written in the place of what it knows is enforced all the same (INV-2).
func TestPutBackUnseen(t *testing.T) {
	t.Parallel()
	for name, restarted := range map[string]bool{"a sidecar that starts": true, "a sidecar that was cut off": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := eventstest.RunServer(t)
			proxy := eventstest.RunProxy(t, server)
			writer := newIssuer(t, server)
			kept := writer.revoke(t, nil)
			server.Stop()
			older := server.Save(t)
			server.Start(t)

			l := newList()
			s, stop := follow(t, syncer.Config{URL: proxy.URL(), Options: server.Options(topology.Sidecar)}, l)
			gone := newIssuerFrom(t, server, 100)
			var lost []events.RevocationID
			for range 5 {
				lost = append(lost, gone.revoke(t, nil))
			}
			fresh(t, s, time.Now())
			was := s.State()
			if restarted {
				stop()
			} else {
				proxy.HoldAnswers()
			}

			server.Stop()
			server.PutBack(t, older)
			server.Start(t)
			var anew []events.RevocationID
			writer = newIssuerFrom(t, server, 200)
			for lastOf(t, server) <= was.Sequence {
				anew = append(anew, writer.revoke(t, nil))
			}
			if restarted {
				s, _ = follow(t, syncer.Config{URL: proxy.URL(), Options: server.Options(topology.Sidecar)}, l)
			} else {
				proxy.Lose()
			}
			fresh(t, s, time.Now())
			if !l.has(anew...) {
				t.Error("fresh without what was written in the place of what it knew")
			}
			if !l.has(lost...) || !l.has(kept) {
				t.Error("what was denied is not any more")
			}
			if st := s.State(); st.Epoch != was.Epoch {
				t.Errorf("another epoch, %s after %s: this is not the test it should be", st.Epoch, was.Epoch)
			}
		})
	}
}

// newIssuerFrom is another issuer, whose entries are not those of the first.
func newIssuerFrom(t *testing.T, server *eventstest.Server, n int) *issuer {
	t.Helper()
	i := newIssuer(t, server)
	i.next, i.published = n, n
	return i
}

// lastOf is the feed's last number.
func lastOf(t *testing.T, server *eventstest.Server) uint64 {
	t.Helper()
	stream, err := superuser(t, server).Stream(t.Context(), realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

func superuser(t *testing.T, server *eventstest.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(server.Superuser(t, topology.Issuer.Account()))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// The same seen by a sidecar that looks all the time: every number is behind its
// cursor, so it begins again, and goes on denying meanwhile.
func TestPutBack(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	server.Stop()
	older := server.Save(t)
	server.Start(t)
	l := newList()
	s, _ := followServer(t, server, l)
	writer := newIssuer(t, server)
	var lost []events.RevocationID
	for range 50 {
		lost = append(lost, writer.revoke(t, nil))
	}
	fresh(t, s, time.Now())
	server.Stop()
	server.PutBack(t, older)
	server.Start(t)
	again := newIssuerFrom(t, server, 100)
	id := again.revoke(t, nil)
	fresh(t, s, time.Now())
	if st := s.State(); st.Resyncs != 1 {
		t.Errorf("state: %+v", st)
	}
	if !l.has(id) || !l.has(lost...) {
		t.Error("an entry of before or after is missing")
	}
}

// The feed is deleted, and an issuer makes it anew.
func TestFeedMadeAnew(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t)
	kept := newIssuer(t, server).revoke(t, nil)
	l := newList()
	s, _ := followServer(t, server, l)
	fresh(t, s, time.Time{})
	was := s.State()
	if err := superuser(t, server).DeleteStream(t.Context(), realm.FeedStream()); err != nil {
		t.Fatal(err)
	}
	server.Provision(t)
	writer := newIssuerFrom(t, server, 100)
	id := writer.revoke(t, nil)
	eventually(t, "the new epoch", func() bool { return s.State().Epoch != was.Epoch })
	fresh(t, s, was.FreshAsOf)
	if st := s.State(); st.Resyncs != 1 || !l.has(kept, id) {
		t.Errorf("an entry of either epoch is missing, or too much was read: %+v", st)
	}
}

// More comes at once than there is room for: the subscription drops it, the hole shows
// with what comes next, and the stream has it all.
func TestFlood(t *testing.T) {
	t.Parallel()
	server := eventstest.RunServer(t, eventstest.Lazy())
	l := newList()
	s, _ := followServer(t, server, l)
	fresh(t, s, time.Time{})

	const flood = 16_000
	release := sync.OnceFunc(l.mu.Unlock)
	l.mu.Lock() // nothing can be applied
	t.Cleanup(release)
	// Each takes more than a kilobyte of the 16 MiB that may wait.
	server.Announce(t, flood, func(i int) events.Revocation {
		r := revocation(i)
		r.Issuer = events.Issuer("https://id.example/" + strings.Repeat("x", 480))
		r.Reason, r.By.Name = events.Reason(strings.Repeat("r", 250)), strings.Repeat("n", 250)
		return r
	})
	before := s.State()
	release()
	id := newIssuerFrom(t, server, flood).revoke(t, nil)
	fresh(t, s, time.Now())
	for i := range flood {
		if !l.has(revocation(i).ID) {
			t.Fatalf("fresh without entry %d of the flood", i)
		}
	}
	if st := s.State(); !l.has(id) || st.Repairs+st.Overflows == before.Repairs+before.Overflows {
		t.Errorf("nothing was repaired, so nothing was dropped: %+v", st)
	}
}

// A broker that wants TLS and certificates of its clients; the first of two URLs leads
// nowhere. Without the broker's authority nothing is believed.
func TestTLS(t *testing.T) {
	t.Parallel()
	authority := eventstest.NewCA(t, "test")
	ca := authority.File
	cert, key := authority.Client(t, 2)
	server := eventstest.RunServer(t, authority.MutualTLS(t, nil))
	url := "tls://127.0.0.1:1,tls://" + strings.TrimPrefix(server.URL(), "nats://")
	creds := nats.UserCredentials(server.Credentials(topology.Sidecar))

	l := newList()
	s, _ := follow(t, syncer.Config{URL: url, Options: []nats.Option{creds, nats.RootCAs(ca), nats.ClientCert(cert, key)}}, l)
	id := newIssuer(t, server).revoke(t, nil)
	fresh(t, s, time.Now())
	if !l.has(id) {
		t.Error("fresh without the entry")
	}
	for name, options := range map[string][]nats.Option{
		"another authority":     {creds, nats.ClientCert(cert, key)},
		"no client certificate": {creds, nats.RootCAs(ca)},
		"no credentials":        {nats.RootCAs(ca), nats.ClientCert(cert, key)},
	} {
		conn, err := nats.Connect(url, append(options, nats.Timeout(patience))...)
		if err == nil {
			conn.Close()
			t.Errorf("%s: let in", name)
		}
	}
}
