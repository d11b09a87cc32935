package subject_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
)

func keyer(t testing.TB) subject.Keyer {
	t.Helper()
	k, err := subject.NewKeyer([]byte("a secret of sixteen bytes or more"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestWhatIsBuiltIsReadBack(t *testing.T) {
	keys := keyer(t)
	rapid.Check(t, func(t *rapid.T) {
		realm := subject.Realm(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,31}`).Draw(t, "realm"))
		id := rapid.String().Draw(t, "id")
		name := rapid.StringMatching(`[A-Za-z0-9_-]{1,128}`).Draw(t, "name")
		kind := rapid.SampledFrom(events.Kinds()).Draw(t, "kind")
		cut := rapid.SampledFrom([]events.Kind{events.KindToken, events.KindSubject, events.KindClient, events.KindKey, events.KindAll}).Draw(t, "cut")
		key := keys.Key(kind, "https://id.example", id)

		for text, want := range map[string]subject.Place{
			realm.Session(key, events.SessionID(name)): subject.Session{Key: key, ID: events.SessionID(name)},
			realm.User(key):                           subject.User{Key: key},
			realm.Cut(cut, key):                       subject.Cut{Kind: cut, Key: key},
			realm.Key(events.KeyID(name)):             subject.Key{ID: events.KeyID(name)},
			realm.Replay(key, events.SessionID(name)): subject.Replay{Key: key, ID: events.SessionID(name)},
			realm.Client(key):                         subject.Client{Key: key},
			realm.Operator(key):                       subject.Operator{Key: key},
			realm.Secret(events.KeyID(name)):          subject.Secret{ID: events.KeyID(name)},
			realm.Spent(key):                          subject.Spent{Key: key},
			realm.Lifetimes():                         subject.Lifetimes{},
			realm.Barrier():                           subject.Barrier{},
			realm.FeedKeys():                          subject.FeedKeys{},
			realm.FeedHeartbeat():                     subject.FeedHeartbeat{},
			realm.LiveHeartbeat():                     subject.FeedHeartbeat{},
			realm.Report(name):                        subject.Report{Sidecar: name},
			realm.FleetAsk():                          subject.FleetAsk{},
		} {
			gotRealm, got, err := subject.Parse(text)
			if err != nil || gotRealm != realm || got != want {
				t.Fatalf("%s read as %v %v (%v), want %v", text, gotRealm, got, err, want)
			}
		}
		for _, text := range []string{realm.FeedEntry(kind, "i", id), realm.FeedLift("i", id), realm.Note("i", events.Subject(id))} {
			_, got, err := subject.Parse(text)
			switch p := got.(type) {
			case subject.FeedEntry:
				if p.Kind != kind || p.Shard >= subject.FeedShards {
					t.Fatalf("%s read as %v", text, p)
				}
			case subject.FeedLift, subject.Note:
			default:
				t.Fatalf("%s read as %v (%v)", text, got, err)
			}
		}
	})
}

func TestParseRefuses(t *testing.T) {
	key := strings.Repeat("0", 32)
	for _, s := range []string{
		"", "revocast", "revocast.default", "revocast.default.journal", "other.default.journal.barrier",
		"revocast.Default.journal.barrier", "revocast..journal.barrier", "revocast.default.journal.barrier.x",
		"revocast.default.journal.session." + key, "revocast.default.journal.session." + key + ".",
		"revocast.default.journal.session.*.*", "revocast.default.journal.session." + key + ".>",
		"revocast.default.journal.session." + strings.ToUpper("abcdef") + key[6:] + ".s",
		"revocast.default.journal.user." + key[1:], "revocast.default.journal.cut.session." + key,
		"revocast.default.journal.spent." + key[1:], "revocast.default.journal.cut.unknown." + key, "revocast.default.feed.token.8", "revocast.default.feed.token.01",
		"revocast.default.feed.token.+1", "revocast.default.feed.unknown.1", "revocast.default.feed.>",
		"revocast.default.report.a b", "revocast.default.report." + strings.Repeat("x", 129),
		strings.Repeat("x", 513),
	} {
		if _, p, err := subject.Parse(s); err == nil {
			t.Errorf("%q read as %#v", s, p)
		}
	}
}

func TestLiveOfKeys(t *testing.T) {
	const r = subject.Realm("default")
	list := r.LiveOfKeys()
	for i, place := range []string{r.FeedKeys(), r.FeedEntry(events.KindKey, "i", "k"), r.FeedLift("i", "k")} {
		live := strings.Replace(place, ".feed.", ".live.", 1)
		if prefix, wild := strings.CutSuffix(list[i], "*"); list[i] != live && (!wild || !strings.HasPrefix(live, prefix)) {
			t.Errorf("%s does not match %s", list[i], live)
		}
	}
}

func TestKeysHideAndSeparate(t *testing.T) {
	k := keyer(t)
	seen := map[events.SubjectKey]string{}
	for _, kind := range events.Kinds() {
		for _, issuer := range []events.Issuer{"a", "ab"} {
			for _, id := range []string{"c", "bc", ""} {
				key := k.Key(kind, issuer, id)
				what := fmt.Sprint(kind, " ", issuer, " ", id)
				if other, dup := seen[key]; dup {
					t.Errorf("%s and %s share a key", what, other)
				}
				seen[key] = what
			}
		}
	}
	other, err := subject.NewKeyer([]byte("another secret of sixteen bytes"))
	if err != nil {
		t.Fatal(err)
	}
	if k.Key(events.KindSubject, "a", "c") == other.Key(events.KindSubject, "a", "c") {
		t.Error("the key does not depend on the secret")
	}
	if _, err := subject.NewKeyer(make([]byte, 15)); err == nil {
		t.Error("a short secret was taken")
	}
}

func TestRealmNames(t *testing.T) {
	for _, s := range []string{"", "-a", "A", "a.b", "a*", "a>", "a b", "ä", strings.Repeat("a", 33)} {
		if r, err := subject.ParseRealm(s); err == nil {
			t.Errorf("%q was taken as realm %q", s, r)
		}
	}
	if got := subject.Realm("prod-eu").FeedStream(); got != "REVOCAST_PROD-EU_FEED" {
		t.Errorf("feed stream is called %s", got)
	}
}

// Parse and the builders agree on every string, also on hostile ones.
func FuzzParse(f *testing.F) {
	f.Add("revocast.default.journal.session." + strings.Repeat("0", 32) + ".01935f6a-0c00-7000-8000-000000000002")
	f.Add("revocast.default.feed.token.3")
	f.Add("revocast.default.report.pod-1")
	f.Fuzz(func(t *testing.T, s string) {
		realm, p, err := subject.Parse(s)
		if err != nil {
			return
		}
		var again string
		switch p := p.(type) {
		case subject.Session:
			again = realm.Session(p.Key, p.ID)
		case subject.User:
			again = realm.User(p.Key)
		case subject.Cut:
			again = realm.Cut(p.Kind, p.Key)
		case subject.Key:
			again = realm.Key(p.ID)
		case subject.Replay:
			again = realm.Replay(p.Key, p.ID)
		case subject.Client:
			again = realm.Client(p.Key)
		case subject.Operator:
			again = realm.Operator(p.Key)
		case subject.Secret:
			again = realm.Secret(p.ID)
		case subject.Lifetimes:
			again = realm.Lifetimes()
		case subject.Note:
			again = fmt.Sprintf("revocast.%s.audit.note.%d", realm, p.Shard)
		case subject.Barrier:
			again = realm.Barrier()
		case subject.Report:
			again = realm.Report(p.Sidecar)
		case subject.FleetAsk:
			again = realm.FleetAsk()
		case subject.FeedKeys:
			again = realm.FeedKeys()
		case subject.FeedHeartbeat:
			again = realm.FeedHeartbeat()
		case subject.FeedEntry:
			again = fmt.Sprintf("revocast.%s.feed.%s.%d", realm, p.Kind, p.Shard)
		case subject.FeedLift:
			again = fmt.Sprintf("revocast.%s.feed.lift.%d", realm, p.Shard)
		}
		feed := strings.Replace(s, "revocast."+string(realm)+".live.", "revocast."+string(realm)+".feed.", 1)
		if again != s && again != feed {
			t.Fatalf("%q read as %#v, which is written %q", s, p, again)
		}
	})
}
