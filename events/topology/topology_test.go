package topology_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
)

var options = topology.Options{Realm: "test", Replicas: 3}

func streams() []topology.Stream {
	return []topology.Stream{
		options.Journal(), options.Pulse(), options.Feed("T"), options.Audit("T"), options.Events("T"), options.Snapshot(),
	}
}

// The JSON form is NATS's own: nothing is unknown to the client library, and
// nothing is lost on the way through its type.
func TestStreamsAreNATSConfigurations(t *testing.T) {
	for _, s := range streams() {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var config jetstream.StreamConfig
		strict := json.NewDecoder(bytes.NewReader(b))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&config); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		b, err = json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		var back topology.Stream
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		for i := range back.Sources { // Filter is the consumer's, not the stream's
			back.Sources[i].Filter = s.Sources[i].Filter
		}
		if !reflect.DeepEqual(s, back) {
			t.Errorf("%s\nbecame %+v\nfrom   %+v", s.Name, back, s)
		}
	}
}

// Only where somebody trusted writes may one message erase or schedule others.
func TestWhoMayErase(t *testing.T) {
	for _, s := range streams() {
		writers := make(map[topology.Role]bool)
		for _, r := range topology.Roles() {
			for _, allowed := range options.Permissions(r).Publish {
				if slices.ContainsFunc(s.Subjects, func(own string) bool { return overlaps(own, allowed) }) {
					writers[r] = true
				}
			}
		}
		if s.AllowRollup || s.AllowMsgSchedules {
			if len(writers) != 1 || !writers[topology.Issuer] {
				t.Errorf("%s allows roll-ups, and %v write to it", s.Name, writers)
			}
			if len(s.Sources) > 0 {
				t.Errorf("%s allows roll-ups and sources", s.Name)
			}
		}
	}
}

// AUDIT and EVENTS keep what they get; and never less than FEED and JOURNAL sent.
func TestSinksKeep(t *testing.T) {
	for _, s := range []topology.Stream{options.Audit("T"), options.Events("T")} {
		if s.AllowRollup || s.AllowMsgTTL || s.Duplicates != 0 || s.MaxMsgSize != -1 || s.MaxMsgs != -1 || s.MaxBytes != -1 ||
			s.MaxMsgsPerSubject != -1 || s.MaxAge <= 0 {
			t.Errorf("%s: %+v", s.Name, s)
		}
	}
	// Nothing is published to them but notes, and those by issuers.
	if got := options.Audit("T").Subjects; !slices.Equal(got, []string{subject.Realm("test").Notes()}) {
		t.Errorf("AUDIT listens to %v", got)
	}
	if got := options.Events("T").Subjects; len(got) != 0 {
		t.Errorf("EVENTS listens to %v", got)
	}
}

// What holds credentials, and what says nothing, is not copied to AUDIT; all else is.
func TestWhatIsAudited(t *testing.T) {
	r := subject.Realm("test")
	audited := func(name string) (n int) {
		for _, src := range options.Audit("T").Sources {
			for _, filter := range src.Filter {
				if overlaps(filter, name) {
					n++
				}
			}
		}
		return n
	}
	const key = events.SubjectKey("0123456789abcdef0123456789abcdef")
	for name, want := range map[string]int{
		r.Session(key, "s"): 1, r.Cut(events.KindSubject, key): 1, r.Key("k"): 1,
		r.FeedEntry(events.KindToken, "i", "t"): 1, r.FeedLift("i", "t"): 1, r.FeedKeys(): 1,
		r.Client(key): 1, r.Operator(key): 0, r.Secret("k"): 0, r.Replay(key, "s"): 0, r.Lifetimes(): 0,
		r.User(key): 0, r.Barrier(): 0, r.FeedHeartbeat(): 0, r.PulseBeat(): 0, r.PulseSchedule(): 0,
	} {
		if got := audited(name); got != want {
			t.Errorf("%s: taken by %d sources, want %d", name, got, want)
		}
	}
}

// Every kind of revocation has a way into the feed, for operators too.
func TestEveryKindCanBePublished(t *testing.T) {
	for _, role := range []topology.Role{topology.Issuer, topology.Operator} {
		allowed := options.Permissions(role).Publish
		for _, k := range events.Kinds() {
			name := options.Realm.FeedEntry(k, "i", "t")
			if !slices.ContainsFunc(allowed, func(a string) bool { return overlaps(a, name) }) {
				t.Errorf("%s cannot publish to %s", role, name)
			}
		}
	}
}

// No role is granted another's inbox, nor a wildcard that reaches beyond the realm.
func TestGrantsAreNarrow(t *testing.T) {
	for _, r := range topology.Roles() {
		p := options.Permissions(r)
		for _, name := range slices.Concat(p.Publish, p.Subscribe) {
			for _, other := range topology.Roles() {
				if other != r && overlaps(name, other.InboxPrefix()+".x") {
					t.Errorf("%s may use %s, which is %s's", r, name, other)
				}
			}
			first, _, _ := strings.Cut(name, ".")
			if strings.ContainsAny(first, "*>") {
				t.Errorf("%s may use %s", r, name)
			}
		}
	}
	if p := options.Permissions(topology.NoRole); len(p.Publish)+len(p.Subscribe) != 0 {
		t.Errorf("no role may %+v", p)
	}
}

func TestRolesHaveNames(t *testing.T) {
	for _, r := range topology.Roles() {
		if back, err := topology.ParseRole(r.String()); err != nil || back != r {
			t.Errorf("%v reads as %v, %v", r, back, err)
		}
	}
	for _, s := range []string{"", "none", "Issuer", "root"} {
		if r, err := topology.ParseRole(s); err == nil {
			t.Errorf("%q reads as %v", s, r)
		}
	}
}

// overlaps reports whether two subjects, with wildcards or without, have one in common.
func overlaps(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		if x[i] == ">" || y[i] == ">" {
			return true
		}
		if x[i] != y[i] && x[i] != "*" && y[i] != "*" {
			return false
		}
	}
	return len(x) == len(y)
}
