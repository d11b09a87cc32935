package eventstest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

const realm = eventstest.Realm

// outsiders are the roles that INV-8 speaks about: everyone but the issuers.
func outsiders() []topology.Role {
	return []topology.Role{topology.Sidecar, topology.Subscriber, topology.Operator}
}

// A try is one subject that a role must not publish to or subscribe to.
type try struct {
	subject string
	// but names the roles that may.
	but []topology.Role
}

func forbiddenPublish() []try {
	journal, feed, audit, kept := realm.JournalStream(), realm.FeedStream(), realm.AuditStream(), realm.EventsStream()
	everyone := []topology.Role{topology.Issuer}
	list := []try{
		{realm.Barrier(), everyone},
		{realm.User("0123456789abcdef0123456789abcdef"), everyone},
		{realm.FeedEntry(events.KindToken, "i", "t"), []topology.Role{topology.Issuer, topology.Operator}},
		{realm.FeedEntry(events.KindAll, "i", ""), []topology.Role{topology.Issuer, topology.Operator}},
		{realm.FeedLift("i", "t"), everyone},
		{realm.FeedKeys(), everyone},
		{realm.FeedHeartbeat(), everyone},
		{realm.PulseBeat(), nil},
		{realm.PulseSchedule(), everyone},
		{realm.LiveHeartbeat(), nil},
		{"revocast.test.live.token.0", nil},
		{"revocast.test.audit.feed.token.0", nil},
		{realm.Report("sidecar-1"), []topology.Role{topology.Sidecar}},
		{realm.FleetAsk(), everyone},
		{realm.SnapshotManifest(), everyone},
		{realm.SnapshotClaim(), everyone},
		{realm.SnapshotChunk(0), everyone},
		{"$JS.API.DIRECT.GET." + realm.SnapshotStream(), []topology.Role{topology.Issuer, topology.Sidecar}},
		{"revocast.test.sourcing.feed.pulse.guess", nil},
		{"revocast.test.sourcing.events.feed.guess", nil},
		{"revocast.other.feed.token.0", nil},
		{"_INBOX.x", nil},
		{"_R_.x", nil},
		{"$SYS.REQ.SERVER.PING", nil},
		{"$JS.API.STREAM.CREATE.MINE", nil},
		{"$JS.API.STREAM.NAMES", nil},
		{"$JS.API.STREAM.INFO." + kept, nil},
		{"$JS.API.CONSUMER.CREATE." + kept + ".c", []topology.Role{topology.Subscriber}},
		{"$JS.API.CONSUMER.MSG.NEXT." + kept + ".c", []topology.Role{topology.Subscriber}},
		{"$JS.API.CONSUMER.CREATE." + feed + ".c", everyone},
		{"$JS.API.CONSUMER.RESET." + feed + ".EVENTS-x", nil},
		{"revocast.test.api.feed.CONSUMER.RESET." + feed + ".EVENTS-x", nil},
		{"revocast.test.api.events.STREAM.DELETE." + kept, nil},
		{"revocast.test.api.events.STREAM.UPDATE." + kept, everyone},
		{"$JS.API.DIRECT.GET." + feed, []topology.Role{topology.Issuer, topology.Sidecar, topology.Operator}},
		{"$JS.API.DIRECT.GET." + feed + "." + realm.FeedKeys(), everyone},
		{"$JS.API.DIRECT.GET." + audit, []topology.Role{topology.Issuer, topology.Operator}},
		{"$JS.API.DIRECT.GET." + journal, everyone},
		{"$JS.API.DIRECT.GET." + kept, nil},
		{"$JS.ACK." + audit + ".finisher.1.1.1.1.0", everyone},
		{"$JS.FC." + feed + ".EVENTS-x.y", nil},
	}
	for _, stream := range []string{journal, feed, audit, kept, realm.PulseStream(), realm.SnapshotStream()} {
		for _, verb := range []string{"STREAM.DELETE", "STREAM.PURGE", "STREAM.RESTORE", "STREAM.SNAPSHOT", "STREAM.MSG.DELETE"} {
			list = append(list, try{"$JS.API." + verb + "." + stream, nil})
		}
	}
	for _, r := range topology.Roles() {
		list = append(list, try{r.InboxPrefix() + ".x", nil})
	}
	return list
}

func forbiddenSubscribe() []try {
	list := []try{
		{">", nil},
		{"_INBOX.>", nil},
		{"revocast.>", nil},
		{realm.Journal(), nil},
		{realm.Feed(), nil},
		{realm.Reports(), []topology.Role{topology.Issuer}},
		{realm.Snapshots(), nil},
		{realm.FleetAsk(), []topology.Role{topology.Sidecar}},
		{realm.Live(), []topology.Role{topology.Issuer, topology.Sidecar, topology.Operator}},
		{"revocast.test.sourcing.>", nil},
		{"$JS.API.>", nil},
		{"$JS.EVENT.ADVISORY.>", nil},
		{"$SYS.>", nil},
		{"_R_.>", nil},
	}
	for _, r := range topology.Roles() {
		list = append(list, try{r.InboxPrefix() + ".>", []topology.Role{r}})
	}
	return list
}

// INV-8: each role's credentials against everything that they are not for.
func TestPermissions(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	for _, role := range topology.Roles() {
		t.Run(role.String(), func(t *testing.T) {
			refusals := make(chan error, 1)
			nc := s.Connect(t, role, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
			expect := func(t *testing.T, allowed bool, verb, subject string) {
				t.Helper()
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
				if allowed {
					select {
					case err := <-refusals:
						t.Errorf("%s to %s refused: %v", verb, subject, err)
					default:
					}
					return
				}
				select {
				case err := <-refusals:
					if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
						t.Errorf("%s to %s: %v", verb, subject, err)
					}
				case <-time.After(10 * time.Second):
					t.Errorf("%s to %s is allowed", verb, subject)
				}
			}
			for _, p := range forbiddenSubscribe() {
				sub, err := nc.SubscribeSync(p.subject)
				if err != nil {
					t.Fatal(err)
				}
				expect(t, slices.Contains(p.but, role), "subscribing", p.subject)
				if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrBadSubscription) {
					t.Fatal(err)
				}
			}
			for _, p := range forbiddenPublish() {
				if slices.Contains(p.but, role) {
					continue // what is allowed is used elsewhere, for a reason
				}
				if err := nc.Publish(p.subject, nil); err != nil {
					t.Fatal(err)
				}
				expect(t, false, "publishing", p.subject)
			}
		})
	}
}

// holdings is what the streams contain, heartbeats aside, and who consumes it.
type holdings struct {
	messages  map[string]uint64
	consumers []string
}

func look(t *testing.T, s *eventstest.Server) holdings {
	t.Helper()
	h := holdings{messages: make(map[string]uint64)}
	for _, a := range []topology.Account{topology.Issuer.Account(), topology.Vault} {
		js, err := jetstream.New(s.Superuser(t, a))
		if err != nil {
			t.Fatal(err)
		}
		streams := js.ListStreams(t.Context())
		for info := range streams.Info() {
			stream, err := js.Stream(t.Context(), info.Config.Name)
			if err != nil {
				t.Fatal(err)
			}
			full, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
			if err != nil {
				t.Fatal(err)
			}
			for subject, n := range full.State.Subjects {
				if subject != realm.FeedHeartbeat() && subject != realm.PulseBeat() {
					h.messages[string(a)+" "+info.Config.Name+" "+subject] = n
				}
			}
			names := stream.ConsumerNames(t.Context())
			for name := range names.Name() {
				h.consumers = append(h.consumers, info.Config.Name+" "+name)
			}
			if err := names.Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := streams.Err(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(h.consumers)
	return h
}

func (h holdings) same(o holdings) bool {
	return maps.Equal(h.messages, o.messages) && slices.Equal(h.consumers, o.consumers)
}

// fill puts something into every stream, and waits until all have it.
func fill(t *testing.T, s *eventstest.Server) holdings {
	t.Helper()
	js, err := jetstream.New(s.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		realm.Session("0123456789abcdef0123456789abcdef", "s"), realm.Barrier(),
		realm.FeedEntry(events.KindToken, "i", "t"), realm.FeedEntry(events.KindSession, "i", "s"),
	} {
		if _, err := js.Publish(t.Context(), subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	s.WaitReady(t)
	var h holdings
	eventstest.Eventually(t, func(context.Context) error {
		h = look(t, s)
		for _, want := range []string{realm.AuditStream() + " revocast.test.audit.journal.session.", realm.EventsStream() + " revocast.test.feed.session."} {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(h.messages)), func(k string) bool { return strings.Contains(k, want) }) {
				return errors.New("nothing yet in " + want)
			}
		}
		return nil
	})
	return h
}

// INV-8: accounts, not permissions, keep the roles apart. A user of an outsider's
// account whom no permission holds back changes nothing that others rely on.
func TestAccountsAreWalls(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	before := fill(t, s)
	for _, role := range outsiders() {
		nc := s.Superuser(t, role.Account())
		for _, p := range forbiddenPublish() {
			if slices.Contains(p.but, role) || slices.ContainsFunc(s.Topology().Permissions(role).Publish, func(allowed string) bool { return allowed == p.subject }) {
				continue
			}
			if err := nc.PublishRequest(p.subject, "answer", nil); err != nil && !strings.HasPrefix(p.subject, "$SYS") {
				t.Fatal(err)
			}
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		for _, stream := range []string{realm.JournalStream(), realm.FeedStream(), realm.AuditStream()} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{}); err == nil {
				t.Errorf("%s account made a consumer on %s", role, stream)
			}
			cancel()
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, s)
	if after := look(t, s); !after.same(before) {
		t.Errorf("before %v\nafter  %v", before, after)
	}
}
