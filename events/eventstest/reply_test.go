package eventstest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

// requests are what each role may ask for and gets an answer to.
func requests(role topology.Role) []*nats.Msg {
	directGet := "$JS.API.DIRECT.GET."
	msg := func(subject, body string) *nats.Msg { return &nats.Msg{Subject: subject, Data: []byte(body)} }
	switch role {
	case topology.Sidecar:
		return []*nats.Msg{
			msg(directGet+realm.FeedStream(), `{"last_by_subj":"revocast.test.feed.>"}`),
			msg(directGet+realm.FeedStream(), `{"seq":1,"batch":2,"no_hdr":true}`),
			msg(directGet+realm.SnapshotStream(), `{"seq":1,"batch":2,"no_hdr":true}`),
			msg(directGet+realm.FeedStream(), `{"seq":9007199254740991}`), // 404: an answer without a body
		}
	case topology.Operator:
		return []*nats.Msg{
			msg(directGet+realm.AuditStream(), `{"last_by_subj":"revocast.test.audit.>"}`),
			msg(directGet+realm.AuditStream(), `{"seq":9007199254740991}`),
		}
	case topology.Subscriber:
		stream := realm.EventsStream()
		return []*nats.Msg{
			msg("$JS.API.CONSUMER.MSG.NEXT."+stream+".drained", `{"batch":1,"no_wait":true}`), // 404
			msg("$JS.API.CONSUMER.MSG.NEXT."+stream+".full", `{"batch":1,"no_wait":true}`),
			msg("$JS.API.CONSUMER.INFO."+stream+".full", ""),
		}
	case topology.Issuer, topology.NoRole:
	}
	return nil
}

// targets are subjects to which an answer, were it sent there, would do harm.
func targets() []string {
	list := []string{
		realm.Barrier(), realm.FeedEntry(events.KindToken, "i", "t"), realm.FeedHeartbeat(),
		realm.PulseSchedule(), realm.PulseBeat(), "revocast.test.sourcing.feed.pulse.guess",
	}
	// What the vault may send to the issuers' account.
	list = append(list,
		"$JS.FC."+realm.FeedStream()+".EVENTS-x.y",
		"revocast.test.api.feed.CONSUMER.RESET."+realm.FeedStream()+".EVENTS-x")
	for _, stream := range []string{realm.JournalStream(), realm.FeedStream(), realm.AuditStream(), realm.EventsStream()} {
		list = append(list, "$JS.API.STREAM.PURGE."+stream, "$JS.API.STREAM.DELETE."+stream)
	}
	return list
}

// consumers gives the stream a consumer that has nothing to deliver and one that has.
func consumers(t *testing.T, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name, filter := range map[string]string{"drained": realm.FeedKeys(), "full": "revocast.test.feed.*.*"} {
		if _, err := js.CreateConsumer(t.Context(), realm.EventsStream(), jetstream.ConsumerConfig{Durable: name, FilterSubject: filter}); err != nil {
			t.Fatal(err)
		}
	}
}

// INV-8: JetStream sends answers to whatever reply subject a request names. From
// outside the account that holds the stream, this reaches nothing.
func TestReplySubjectsReachNothing(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	fill(t, s)
	consumers(t, s.Connect(t, topology.Subscriber))
	before := look(t, s)
	for _, role := range outsiders() {
		nc := s.Connect(t, role)
		for _, request := range requests(role) {
			answer, err := nc.RequestMsg(&nats.Msg{Subject: request.Subject, Data: request.Data}, 10*time.Second)
			if err != nil || answer == nil {
				t.Fatalf("%s: %s: %v", role, request.Subject, err)
			}
			for _, target := range targets() {
				request.Reply = target
				if err := nc.PublishMsg(request); err != nil {
					t.Fatal(err)
				}
			}
			// What was asked before it has been answered when this is.
			if _, err := nc.RequestMsg(&nats.Msg{Subject: request.Subject, Data: request.Data}, 10*time.Second); err != nil {
				t.Fatalf("%s: %s: %v", role, request.Subject, err)
			}
		}
	}
	settle(t, s)
	if after := look(t, s); !after.same(before) {
		t.Errorf("before %v\nafter  %v", before, after)
	}
}

// The control of the test above, and the reason for the vault: inside the account
// the same request, permitted by itself, erases the stream.
func TestReplySubjectsAreWeaponsInsideAnAccount(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	fill(t, s)
	nc := s.Superuser(t, topology.Vault)
	consumers(t, nc)
	request := requests(topology.Subscriber)[0]
	request.Reply = "$JS.API.STREAM.PURGE." + realm.EventsStream()
	if err := nc.PublishMsg(request); err != nil {
		t.Fatal(err)
	}
	eventstest.Eventually(t, func(context.Context) error {
		for k := range look(t, s).messages {
			if strings.HasPrefix(k, string(topology.Vault)) {
				return errors.New("still there: " + k)
			}
		}
		return nil
	})
}

// A client cannot name the subjects by which accounts answer each other, nor
// acknowledge for somebody else, as its reply.
func TestReservedReplySubjectsAreRefused(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	for _, reply := range []string{"_R_.abc", "_GR_.abc.def", "$JS.ACK." + realm.AuditStream() + ".finisher.1.1.1.1.0"} {
		refusals := make(chan error, 1)
		nc := s.Connect(t, topology.Sidecar, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
		if err := nc.PublishRequest("$JS.API.DIRECT.GET."+realm.FeedStream(), reply, []byte(`{"seq":9007199254740991}`)); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-refusals:
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), reply) {
				t.Errorf("reply subject %s: %v", reply, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("reply subject %s is allowed", reply)
		}
	}
}

// INV-8: whoever may make consumers chooses where they deliver. None of it arrives
// anywhere.
func TestDeliverSubjectsReachNothing(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	fill(t, s)
	js, err := jetstream.New(s.Connect(t, topology.Subscriber))
	if err != nil {
		t.Fatal(err)
	}
	before := look(t, s).messages
	made := make(map[string]jetstream.PushConsumer)
	for i, target := range targets() {
		for _, headersOnly := range []bool{false, true} {
			c, err := js.CreatePushConsumer(t.Context(), realm.EventsStream(), jetstream.ConsumerConfig{
				Name: fmt.Sprintf("push-%d-%t", i, headersOnly), DeliverSubject: target, HeadersOnly: headersOnly,
				AckPolicy: jetstream.AckNonePolicy, IdleHeartbeat: 100 * time.Millisecond, InactiveThreshold: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			made[target] = c
		}
	}
	settle(t, s)
	for target, c := range made {
		info, err := c.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.Delivered.Consumer != 0 || info.PushBound {
			t.Errorf("delivers to %s", target)
		}
	}
	if after := look(t, s).messages; !maps.Equal(before, after) {
		t.Errorf("before %v\nafter  %v", before, after)
	}
}

// settle waits for two heartbeats: whatever the server was asked before them, it
// has had a second to do.
func settle(t *testing.T, s *eventstest.Server) {
	t.Helper()
	sub, err := s.Connect(t, topology.Issuer).SubscribeSync(realm.LiveHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := sub.NextMsg(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
}
