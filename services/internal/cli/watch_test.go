package cli_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/cli"
	"github.com/revocast/revocast/services/internal/eventstore"
)

// TestWatch follows a real broker.
func TestWatch(t *testing.T) {
	s := eventstest.RunServer(t)
	feed, err := eventstore.NewFeed(s.Connect(t, topology.Issuer), eventstest.Realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	for i, n := range []events.Revocation{
		{Kind: events.KindSession, Target: sid, Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator", Name: "olga"}},
		{
			Kind: events.KindSubject, Target: "alice\u202e", Reason: "roles_changed", Scope: events.ScopeAccessTokens,
			Cut: events.Position{Sequence: 42}, CutTime: at, By: events.Initiator{Role: "policy"},
		},
	} {
		n.ID = events.RevocationID("01890a5d-ac96-774b-bcce-00000000000" + string(rune('1'+i)))
		n.Issuer, n.Until = "https://id.example", at.Add(time.Hour)
		e := events.Envelope{ID: events.EventID("01890a5d-ac96-774b-bcce-10000000000" + string(rune('1'+i))), At: at, Event: events.Revoked{Revocation: n}}
		if _, err := feed.Publish(t.Context(), eventstest.Realm.FeedEntry(n.Kind, n.Issuer, n.Target), e, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/watch",
		Setup: func(e *testscript.Env) error {
			e.Setenv("REVOCAST_NATS_URL", s.URL())
			e.Setenv("GORACE", "atexit_sleep_ms=0") // or each command takes a second to end
			e.Setenv("REVOCAST_REALM", string(eventstest.Realm))
			e.Setenv("CREDS", s.Credentials(topology.Subscriber))
			e.Setenv("SIDECAR_CREDS", s.Credentials(topology.Sidecar))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

// TestWatchOverTLS follows a broker that wants a certificate.
func TestWatchOverTLS(t *testing.T) {
	ca := eventstest.NewCA(t, "ours")
	s := eventstest.RunServer(t, ca.MutualTLS(t, nil))
	s.Announce(t, 1, func(int) events.Revocation {
		return events.Revocation{
			ID: "01890a5d-ac96-774b-bcce-000000000001", Kind: events.KindSession, Issuer: "https://id.example", Target: sid,
			Reason: events.ReasonAdmin, By: events.Initiator{Role: "operator"}, Until: time.Now().Add(time.Hour),
		}
	})
	cert, key := ca.Client(t, 2)
	watch := []string{
		"watch", "--nats-creds", s.Credentials(topology.Subscriber), "--nats-url", "tls://" + strings.TrimPrefix(s.URL(), "nats://"),
		"--realm", string(eventstest.Realm), "--from", "beginning", "-n", "1",
	}
	for name, c := range map[string]struct {
		files  []string
		status int
		says   string
	}{
		"all of it":      {[]string{"--nats-ca", ca.File, "--nats-cert", cert, "--nats-key", key}, 0, sid},
		"no authority":   {[]string{"--nats-cert", cert, "--nats-key", key}, 1, "unknown authority"},
		"no certificate": {[]string{"--nats-ca", ca.File}, 1, "connecting as subscriber: "},
	} {
		var out bytes.Buffer
		status := cli.Run(t.Context(), append(watch, c.files...), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out}, "test")
		if status != c.status || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: status %d, want %d and %q:\n%s", name, status, c.status, c.says, &out)
		}
	}
}
