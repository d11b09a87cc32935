package operators_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/codec"
	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/operators"
)

const bootstrapToken = "the-token-of-the-first-operator"

var root = events.Initiator{Role: "operator", Name: operators.Bootstrap}

// replica is one more issuer's view of the operators.
func replica(t *testing.T, s *eventstest.Server, secret string) *operators.Operators {
	t.Helper()
	keyer, err := subject.NewKeyer([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	journal, err := eventstore.NewJournal(s.Connect(t, topology.Issuer), eventstest.Realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	return operators.New(operators.Config{Realm: eventstest.Realm, Keyer: keyer, Bootstrap: sha256.Sum256([]byte(bootstrapToken))}, journal)
}

const secret = "a secret of sixteen bytes or more"

func add(t *testing.T, o *operators.Operators, r operators.Request) operators.Added {
	t.Helper()
	if r.Life == 0 {
		r.Life = time.Hour
	}
	done, err := o.Add(t.Context(), r, root)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func cert(name string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: name}}
}

func admits(t *testing.T, o *operators.Operators, token string, c *x509.Certificate, want operators.Operator) {
	t.Helper()
	if got, err := o.Authenticate(t.Context(), token, c); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func refuses(t *testing.T, o *operators.Operators, why, token string, c *x509.Certificate) {
	t.Helper()
	if got, err := o.Authenticate(t.Context(), token, c); !errors.Is(err, operators.ErrRefused) || err.Error() != operators.ErrRefused.Error() || got != (operators.Operator{}) {
		t.Errorf("%s: got %+v, %v", why, got, err)
	}
}

func TestOperatorsComeAndGo(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	a, b := replica(t, s, secret), replica(t, s, secret)
	admits(t, b, bootstrapToken, nil, operators.Operator{Name: operators.Bootstrap, Role: operators.Administrator})

	done := add(t, a, operators.Request{Name: "vera", Role: operators.Viewer})
	if !regexp.MustCompile(`^rvo_[A-Za-z0-9_-]{22}_[A-Za-z0-9_-]{43}$`).MatchString(done.Token) {
		t.Errorf("a token of another form: %d bytes", len(done.Token))
	}
	vera := operators.Operator{Name: "vera", Role: operators.Viewer}
	admits(t, b, done.Token, nil, vera)
	admits(t, b, done.Token, cert("vera"), vera)
	refuses(t, b, "a certificate of somebody else", done.Token, cert("sam"))
	refuses(t, b, "a name without a certificate", "", cert("vera"))
	if _, err := b.Add(t.Context(), operators.Request{Name: "vera", Role: operators.Support, Life: time.Hour}, root); !errors.Is(err, operators.ErrExists) {
		t.Errorf("adding twice: %v", err)
	}

	// Removed on one replica is removed on all, and stays so.
	for range 2 {
		if err := a.Remove(t.Context(), "vera", root); err != nil {
			t.Fatal(err)
		}
		refuses(t, b, "removed", done.Token, nil)
		refuses(t, a, "removed", done.Token, cert("vera"))
	}
	again := add(t, b, operators.Request{Name: "vera", Role: operators.Support})
	admits(t, a, again.Token, nil, operators.Operator{Name: "vera", Role: operators.Support})
	refuses(t, a, "the token before", done.Token, nil)
	for _, name := range []string{"nobody", operators.Bootstrap, "", "*", ">"} {
		if err := a.Remove(t.Context(), name, root); !errors.Is(err, operators.ErrUnknown) {
			t.Errorf("removing %q: %v", name, err)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	o := replica(t, s, secret)
	if done := add(t, o, operators.Request{Name: "carl@ops", Role: operators.Administrator, Certificate: true}); done.Token != "" {
		t.Error("an operator with a certificate got a token too")
	}
	tom := add(t, o, operators.Request{Name: "tom", Role: operators.Viewer})
	carl := operators.Operator{Name: "carl@ops", Role: operators.Administrator}
	admits(t, o, "", cert("carl@ops"), carl)
	refuses(t, o, "two operators at once", tom.Token, cert("carl@ops"))
	refuses(t, o, "two operators at once", bootstrapToken, cert("carl@ops"))
	refuses(t, o, "a token that is none", "rvo_", cert("carl@ops"))
	for _, name := range []string{"", "carl", "Carl@ops", "carl@ops ", "tom", operators.Bootstrap, "*", ">"} {
		refuses(t, o, "certificate of "+name, "", cert(name))
	}
	refuses(t, o, "nothing", "", nil)
	if err := o.Remove(t.Context(), "carl@ops", root); err != nil {
		t.Fatal(err)
	}
	refuses(t, o, "removed", "", cert("carl@ops"))
}

// An operator ends by the broker's clock, and its record some time after; until then
// it is shown, and can be added again.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	o := replica(t, s, secret)
	brief := add(t, o, operators.Request{Name: "brief", Role: operators.Administrator, Life: time.Second})
	card := operators.Request{Name: "card", Role: operators.Viewer, Life: time.Second, Certificate: true}
	add(t, o, card)
	eventstest.Eventually(t, func(ctx context.Context) error {
		for _, try := range []func() (operators.Operator, error){
			func() (operators.Operator, error) { return o.Authenticate(ctx, brief.Token, nil) },
			func() (operators.Operator, error) { return o.Authenticate(ctx, "", cert("card")) },
		} {
			if got, err := try(); !errors.Is(err, operators.ErrRefused) {
				return fmt.Errorf("got %+v, %w", got, err)
			}
		}
		return nil
	})
	list, err := o.List(t.Context())
	if err != nil || len(list) != 2 || !list[0].Expired || list[0].Name != "brief" || list[0].By != operators.Bootstrap {
		t.Errorf("got %+v, %v", list, err)
	}
	again := add(t, o, operators.Request{Name: "brief", Role: operators.Viewer})
	admits(t, o, again.Token, nil, operators.Operator{Name: "brief", Role: operators.Viewer})
	refuses(t, o, "the expired token", brief.Token, nil)

	// One message an operator, which the broker forgets a month after the end.
	journal := stream(t, s)
	for name, life := range map[string]time.Duration{"brief": time.Hour, "card": time.Second} {
		keyer, err := subject.NewKeyer([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		place := eventstest.Realm.Operator(keyer.Key(events.KindUnknown, "", "operator:"+name))
		info, err := journal.Info(t.Context(), jetstream.WithSubjectFilter(place))
		if err != nil || info.State.Subjects[place] != 1 {
			t.Errorf("%s: %d messages, %v; want 1", name, info.State.Subjects[place], err)
		}
		m, err := journal.GetLastMsgForSubject(t.Context(), place)
		if err != nil {
			t.Fatal(err)
		}
		ttl, err := time.ParseDuration(m.Header.Get("Nats-TTL"))
		if err != nil || ttl != life+30*24*time.Hour {
			t.Errorf("%s is kept for %s, %v", name, ttl, err)
		}
	}
}

func stream(t *testing.T, s *eventstest.Server) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(s.Connect(t, topology.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	journal, err := js.Stream(t.Context(), eventstest.Realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	return journal
}

// INV-6: the journal holds nothing that lets anyone in.
func TestNoTokenAtRest(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	o := replica(t, s, secret)
	done := add(t, o, operators.Request{Name: "vera", Role: operators.Viewer})
	sum := sha256.Sum256([]byte(done.Token))
	found := false
	journal := stream(t, s)
	for seq := journal.CachedInfo().State.FirstSeq; seq <= journal.CachedInfo().State.LastSeq; seq++ {
		m, err := journal.GetMsg(t.Context(), seq)
		if err != nil {
			continue // rolled up
		}
		for part := range strings.SplitSeq(strings.TrimPrefix(done.Token, "rvo_"), "_") {
			if len(part) > 20 && (strings.Contains(string(m.Data), part) || strings.Contains(m.Subject, part)) {
				t.Errorf("message %d holds a part of the token", seq)
			}
		}
		e, err := codec.Decode(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if added, ok := e.Event.(events.OperatorAdded); ok {
			found = slices.Equal(added.Operator.TokenHash, sum[:]) && !strings.Contains(m.Subject, "vera")
		}
	}
	if !found {
		t.Error("the journal holds no hash of the token, or the name in a subject")
	}
}

// What this realm did not make costs no look into the journal; what it made, and holds
// no more, is refused alike.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	o := replica(t, s, secret)
	token := add(t, o, operators.Request{Name: "vera", Role: operators.Administrator}).Token
	elsewhere := add(t, replica(t, eventstest.RunServer(t), "the secret of another realm"), operators.Request{Name: "vera", Role: operators.Administrator}).Token
	before := stream(t, s).CachedInfo().State.LastSeq
	forged := map[string]string{
		"empty":              "",
		"the prefix":         "rvo_",
		"another realm's":    elsewhere,
		"half of each":       token[:27] + elsewhere[27:],
		"the other halves":   elsewhere[:27] + token[27:],
		"in capitals":        strings.ToUpper(token),
		"longer":             token + "A",
		"shorter":            token[:len(token)-1],
		"no prefix":          token[4:],
		"no separator":       token[:26] + "A" + token[27:],
		"another last digit": token[:len(token)-1] + string(token[len(token)-1]^1),
		"with a space":       " " + token,
	}
	for i := range len(token) {
		// The lowest bits of a last character may be no part of the value; the strict
		// encoding refuses them all the same.
		forged[fmt.Sprint("damaged at ", i)] = token[:i] + string(map[bool]byte{true: 'A', false: 'B'}[token[i] != 'A']) + token[i+1:]
	}
	for name, f := range forged {
		refuses(t, o, name, f, nil)
	}
	if after := stream(t, s).CachedInfo().State.LastSeq; after != before {
		t.Errorf("forged tokens cost %d appends", after-before)
	}
	admits(t, o, token, nil, operators.Operator{Name: "vera", Role: operators.Administrator})
}

// A removal that has been answered holds for every request that comes after, whichever
// replica it meets and however many there are.
func TestRemovedMeansRemoved(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	replicas := []*operators.Operators{replica(t, s, secret), replica(t, s, secret), replica(t, s, secret)}
	for round := range 5 {
		name := fmt.Sprint("op-", round)
		token := add(t, replicas[0], operators.Request{Name: name, Role: operators.Viewer}).Token
		var removed atomic.Bool
		var group sync.WaitGroup
		stop := make(chan struct{})
		for _, o := range replicas {
			group.Go(func() {
				for {
					after := removed.Load()
					_, err := o.Authenticate(t.Context(), token, nil)
					if err == nil && after {
						t.Errorf("let in after the removal")
					}
					if err != nil && !errors.Is(err, operators.ErrRefused) {
						t.Errorf("undecided: %v", err)
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		if err := replicas[1].Remove(t.Context(), name, root); err != nil {
			t.Error(err)
		}
		removed.Store(true)
		for range 10 {
			refuses(t, replicas[2], "removed", token, nil)
		}
		close(stop)
		group.Wait()
	}
}

// Of those who add the same operator at once one succeeds, and only that one's token
// is worth something.
func TestAddingAtOnce(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	o := replica(t, s, secret)
	tokens := make(chan string, 10)
	var group sync.WaitGroup
	for range cap(tokens) {
		group.Go(func() {
			done, err := o.Add(t.Context(), operators.Request{Name: "vera", Role: operators.Viewer, Life: time.Hour}, root)
			switch {
			case err == nil:
				tokens <- done.Token
			case !errors.Is(err, events.ErrConflict) && !errors.Is(err, operators.ErrExists):
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if len(tokens) != 1 {
		t.Fatalf("%d were added", len(tokens))
	}
	admits(t, o, <-tokens, nil, operators.Operator{Name: "vera", Role: operators.Viewer})
}

func TestNotInOrder(t *testing.T) {
	t.Parallel()
	o := replica(t, eventstest.RunServer(t), secret)
	good := operators.Request{Name: "vera", Role: operators.Viewer, Life: time.Hour}
	for name, change := range map[string]func(*operators.Request){
		"no name":        func(r *operators.Request) { r.Name = "" },
		"reserved":       func(r *operators.Request) { r.Name = operators.Bootstrap },
		"capitals":       func(r *operators.Request) { r.Name = "Vera" },
		"a space":        func(r *operators.Request) { r.Name = "ve ra" },
		"a line break":   func(r *operators.Request) { r.Name = "vera\n" },
		"another script": func(r *operators.Request) { r.Name = "vеra" },
		"a long name":    func(r *operators.Request) { r.Name = strings.Repeat("v", 65) },
		"a dash first":   func(r *operators.Request) { r.Name = "-vera" },
		"no role":        func(r *operators.Request) { r.Role = operators.NoRole },
		"no life":        func(r *operators.Request) { r.Life = 0 },
		"a long life":    func(r *operators.Request) { r.Life = operators.MaxLife + time.Second },
	} {
		r := good
		change(&r)
		if done, err := o.Add(t.Context(), r, root); err == nil || done.Token != "" {
			t.Errorf("%s: %+v", name, done.Operator)
		}
	}
	if list, err := o.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v", list, err)
	}
	for _, text := range []string{"", "none", "Viewer", "administrator"} {
		if r, err := operators.ParseRole(text); err == nil || r != operators.NoRole {
			t.Errorf("%q is the role %s", text, r)
		}
	}
}

// Without the journal nobody is let in but whoever has the first token, and nobody is
// told to be none.
func TestJournalIsAway(t *testing.T) {
	t.Parallel()
	s := eventstest.RunServer(t)
	o := replica(t, s, secret)
	done := add(t, o, operators.Request{Name: "vera", Role: operators.Viewer})
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got, err := o.Authenticate(ctx, done.Token, nil); err == nil || errors.Is(err, operators.ErrRefused) || got.Role != operators.NoRole {
		t.Errorf("got %+v, %v", got, err)
	}
	admits(t, o, bootstrapToken, nil, operators.Operator{Name: operators.Bootstrap, Role: operators.Administrator})
	refuses(t, o, "no token", "rvo_x", nil)
}
