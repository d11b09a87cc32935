package eventstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/provision"
	"github.com/revocast/revocast/events/topology"
)

// admin is a JetStream context of an account, allowed everything in it.
func admin(t *testing.T, s *eventstest.Server, a topology.Account) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(s.Superuser(t, a))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func provisioner(t *testing.T, s *eventstest.Server, o topology.Options) *provision.Realm {
	t.Helper()
	p, err := provision.New(s.Connect(t, topology.Issuer), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// configs are the streams of the realm, without what changes by itself, as JSON.
func configs(t *testing.T, s *eventstest.Server) string {
	t.Helper()
	var all []jetstream.StreamConfig
	for _, a := range []topology.Account{topology.Issuer.Account(), topology.Vault} {
		streams := admin(t, s, a).ListStreams(t.Context())
		for info := range streams.Info() {
			all = append(all, info.Config)
		}
		if err := streams.Err(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func config(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config
}

// Any number of issuers may start at once on an empty broker, and again later.
func TestEnsureIsIdempotent(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Empty())
	var first sync.WaitGroup
	for range 4 {
		p := provisioner(t, s, s.Topology())
		first.Go(func() {
			if err := p.Ensure(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	first.Wait()
	s.WaitReady(t)
	before := configs(t, s)
	s.Provision(t)
	if after := configs(t, s); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
	// Those who lost a race left nothing behind.
	for _, consumer := range look(t, s).consumers {
		if !strings.Contains(before, strings.Fields(consumer)[1]) {
			t.Errorf("consumer %s belongs to no stream", consumer)
		}
	}
	pulse, err := admin(t, s, topology.Issuer.Account()).Stream(t.Context(), realm.PulseStream())
	if err != nil {
		t.Fatal(err)
	}
	info, err := pulse.Info(t.Context(), jetstream.WithSubjectFilter(realm.PulseSchedule()))
	if err != nil {
		t.Fatal(err)
	}
	if n := info.State.Subjects[realm.PulseSchedule()]; n != 1 {
		t.Errorf("%d schedules, want 1", n)
	}
}

// What the server made of the topology is what the topology says.
func TestStreamsAreAsDescribed(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	o := s.Topology()
	issuer, vault := admin(t, s, topology.Issuer.Account()), admin(t, s, topology.Vault)
	for _, want := range []topology.Stream{o.Journal(), o.Pulse(), o.Feed(""), o.Audit(""), o.Events(""), o.Snapshot()} {
		js := issuer
		if want.Name == realm.EventsStream() {
			js = vault
		}
		got := config(t, js, want.Name)
		if got.AllowRollup != want.AllowRollup || got.AllowMsgTTL != want.AllowMsgTTL ||
			got.AllowMsgSchedules != want.AllowMsgSchedules || got.AllowDirect != want.AllowDirect ||
			got.MaxAge != want.MaxAge || got.Duplicates != want.Duplicates || len(got.Subjects) != len(want.Subjects) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
		now := uint64(time.Now().UnixMicro())
		if got.FirstSeq == 0 || got.FirstSeq > now || now-got.FirstSeq > uint64(time.Hour.Microseconds()) {
			t.Errorf("%s begins at %d, not at the clock (%d)", want.Name, got.FirstSeq, now)
		}
	}
}

// The reason for PULSE. Should NATS ever allow schedules without roll-ups, the
// heartbeat can move into the feed.
func TestSchedulesBringRollups(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Empty())
	js := admin(t, s, topology.Issuer.Account())
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}, AllowMsgSchedules: true})
	if err != nil {
		t.Fatal(err)
	}
	if !stream.CachedInfo().Config.AllowRollup {
		t.Error("schedules no longer bring roll-ups")
	}
}

// An operator's message cannot erase or schedule others.
func TestFeedRefusesRollupsAndSchedules(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	for _, role := range []topology.Role{topology.Operator, topology.Issuer} {
		nc := s.Connect(t, role)
		for header, value := range map[string]string{"Nats-Rollup": "all", "Nats-Schedule": "@every 1s", "Nats-Stream-Source": "X 1 > > y"} {
			msg := nats.NewMsg(realm.FeedEntry(events.KindToken, "i", "t"))
			msg.Header.Set(header, value)
			msg.Header.Set("Nats-Schedule-Target", realm.FeedEntry(events.KindToken, "i", "u"))
			answer, err := nc.RequestMsg(msg, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			var ack struct{ Error *jetstream.APIError }
			if err := json.Unmarshal(answer.Data, &ack); err != nil || ack.Error == nil {
				t.Errorf("%s: %s: stored: %s", role, header, answer.Data)
			}
		}
	}
}

func TestEnsureRefuses(t *testing.T) {
	t.Parallel()
	o := topology.Options{Realm: realm}
	for name, test := range map[string]struct {
		account topology.Account
		stream  jetstream.StreamConfig
		want    string
	}{
		"audit that forgets": {
			topology.Issuer.Account(),
			jetstream.StreamConfig{Name: realm.AuditStream(), Sources: []*jetstream.StreamSource{{
				Name: realm.FeedStream(), Consumer: &jetstream.StreamConsumerSource{Name: "AUDIT-x", DeliverSubject: "x"},
			}}, AllowMsgTTL: true},
			"cannot become",
		},
		"events that forget": {
			topology.Vault,
			jetstream.StreamConfig{Name: realm.EventsStream(), Subjects: []string{"x"}},
			"does not source through",
		},
		"journal in memory": {
			topology.Issuer.Account(),
			jetstream.StreamConfig{Name: realm.JournalStream(), Subjects: []string{realm.Journal()}, Storage: jetstream.MemoryStorage},
			"NATS cannot change",
		},
		"interest retention": {
			topology.Issuer.Account(),
			jetstream.StreamConfig{Name: realm.PulseStream(), Subjects: []string{realm.PulseBeat()}, Retention: jetstream.InterestPolicy},
			"NATS cannot change",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := eventstest.RunServer(t, eventstest.Empty())
			if _, err := admin(t, s, test.account).CreateStream(t.Context(), test.stream); err != nil {
				t.Fatal(err)
			}
			err := provisioner(t, s, o).Ensure(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.stream.Name) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Whatever was set up by hand is put right where NATS allows it.
func TestEnsureMends(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	js := admin(t, s, topology.Issuer.Account())
	broken := config(t, js, realm.AuditStream())
	broken.AllowRollup, broken.Description = true, "mine"
	if _, err := js.UpdateStream(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	s.Provision(t)
	if got := config(t, js, realm.AuditStream()); got.AllowRollup || got.Description == "mine" {
		t.Errorf("not mended: %+v", got)
	}
}

// Starting an issuer never shortens what is kept.
func TestEnsureNeverShortens(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t, eventstest.Topology(topology.Options{AuditMaxAge: 1000 * time.Hour}))
	js := admin(t, s, topology.Issuer.Account())
	for _, step := range []struct{ ask, want time.Duration }{{500 * time.Hour, 1000 * time.Hour}, {2000 * time.Hour, 2000 * time.Hour}} {
		if err := provisioner(t, s, topology.Options{Realm: realm, AuditMaxAge: step.ask}).Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := config(t, js, realm.AuditStream()).MaxAge; got != step.want {
			t.Errorf("asked for %v, got %v, want %v", step.ask, got, step.want)
		}
	}
}

// An older issuer leaves alone what a newer one has made, but still refuses what
// loses events.
func TestEnsureRespectsNewerVersions(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	js := admin(t, s, topology.Issuer.Account())
	newer := config(t, js, realm.AuditStream())
	newer.Metadata[topology.VersionKey], newer.Description = "2", "newer"
	if _, err := js.UpdateStream(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	s.Provision(t)
	if got := config(t, js, realm.AuditStream()); got.Description != "newer" || got.Metadata[topology.VersionKey] != "2" {
		t.Errorf("taken back: %+v", got)
	}
	newer.AllowRollup = true
	if _, err := js.UpdateStream(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	if err := provisioner(t, s, s.Topology()).Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "roll-ups") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// heartbeat waits for one and returns its epoch.
func heartbeat(t *testing.T, s *eventstest.Server) events.Epoch {
	t.Helper()
	sub, err := s.Connect(t, topology.Sidecar).SubscribeSync(realm.LiveHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	msg, err := sub.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	e, err := codec.Decode(msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	beat, ok := e.Event.(events.Heartbeat)
	if !ok {
		t.Fatalf("heartbeat is %T", e.Event)
	}
	return beat.Epoch
}

// The epoch is as old as the feed: it survives restarts and later issuers, and
// ends with the stream.
func TestEpochLivesAsLongAsTheFeed(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	first := heartbeat(t, s)
	s.Stop()
	s.Start(t)
	s.Provision(t)
	if again := heartbeat(t, s); again != first {
		t.Errorf("epoch %s became %s by a restart", first, again)
	}
	js := admin(t, s, topology.Issuer.Account())
	before := config(t, js, realm.FeedStream())
	if err := js.DeleteStream(t.Context(), realm.FeedStream()); err != nil {
		t.Fatal(err)
	}
	s.Provision(t)
	s.WaitReady(t)
	if after := config(t, js, realm.FeedStream()); after.FirstSeq <= before.FirstSeq {
		t.Errorf("sequences went back: %d, then %d", before.FirstSeq, after.FirstSeq)
	}
	if second := heartbeat(t, s); second == first {
		t.Errorf("the new feed still has epoch %s", first)
	}
}

// A schedule lost or overwritten by hand is made again.
func TestScheduleIsRestored(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	epoch := heartbeat(t, s)
	js, err := jetstream.New(s.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), realm.PulseSchedule(), []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	s.Provision(t)
	s.WaitReady(t)
	if got := heartbeat(t, s); got != epoch {
		t.Errorf("epoch %s, want %s", got, epoch)
	}
}

// Ready tells the truth about each thing it vouches for.
func TestReadyNoticesWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(*testing.T, *eventstest.Server){
		"audit does not source": func(t *testing.T, s *eventstest.Server) {
			t.Helper()
			c := config(t, admin(t, s, topology.Issuer.Account()), realm.AuditStream())
			c.Sources = c.Sources[:1]
			if _, err := admin(t, s, topology.Issuer.Account()).UpdateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		},
		"feed's consumer for events is gone": func(t *testing.T, s *eventstest.Server) {
			t.Helper()
			js := admin(t, s, topology.Issuer.Account())
			kept := config(t, admin(t, s, topology.Vault), realm.EventsStream())
			if err := js.DeleteConsumer(t.Context(), realm.FeedStream(), kept.Sources[0].Consumer.Name); err != nil {
				t.Fatal(err)
			}
		},
		"no schedule": func(t *testing.T, s *eventstest.Server) {
			t.Helper()
			if _, err := admin(t, s, topology.Issuer.Account()).Publish(t.Context(), realm.PulseSchedule(), nil); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := eventstest.RunServer(t)
			s.WaitReady(t)
			p := provisioner(t, s, s.Topology())
			breakIt(t, s)
			eventstest.Eventually(t, func(ctx context.Context) error {
				if err := p.Ready(ctx); !errors.Is(err, provision.ErrNotReady) {
					return fmt.Errorf("still ready, or worse: %w", err)
				}
				return nil
			})
			s.Provision(t)
			s.WaitReady(t)
		})
	}
}

// While the server beats, issuers listen; while it does not, one of them does.
func TestIssuersStandIn(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	s.WaitReady(t)
	epoch := heartbeat(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for range 2 {
		p := provisioner(t, s, s.Topology())
		work.Go(func() {
			if err := p.StandIn(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	sub, err := s.Connect(t, topology.Sidecar).SubscribeSync(realm.LiveHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	beat := func() *nats.Msg {
		msg, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	for range 4 {
		if msg := beat(); msg.Header.Get("Nats-Scheduler") == "" {
			t.Error("an issuer beat although the server did")
		}
	}
	// A message without a schedule in the schedule's place ends it.
	if _, err := issuerJS(t, s).Publish(t.Context(), realm.PulseSchedule(), nil); err != nil {
		t.Fatal(err)
	}
	for beats := 0; beats < 3; {
		msg := beat()
		if msg.Header.Get("Nats-Scheduler") != "" {
			continue
		}
		beats++
		if msg.Header.Get("Nats-TTL") == "" {
			t.Error("the stand-in's heartbeat does not expire")
		}
		e, err := codec.Decode(msg.Data)
		if err != nil || e.Event != (events.Heartbeat{Epoch: epoch}) {
			t.Errorf("got %v, %v", e.Event, err)
		}
	}
	s.Provision(t)
	for served := 0; served < 3; served++ {
		if beat().Header.Get("Nats-Scheduler") == "" {
			served = -1
		}
	}
	cancel()
	work.Wait()
}
