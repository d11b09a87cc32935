package simulation

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/memlog"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/issue"
	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/signing"
)

const (
	issuer   = events.Issuer("http://127.0.0.1:8080")
	audience = "https://api.revocast.test"
	realm    = subject.Realm("test")
	// depth is the journal's: how many states of an entity it keeps.
	depth = 16
	// settleAfter is how old an event is before the finisher looks at it.
	settleAfter = 3 * time.Second
	// nap is the longest that a command sleeps by itself.
	nap = 300 * time.Millisecond
)

// faults are how often, of all occasions, something goes wrong.
type faults struct {
	lost, late, conflict, pause, lag, kill, leave float64
	// skew is how far a clock may be off, either way.
	skew time.Duration
	// away is how long a process may stand still in the middle of a command.
	away time.Duration
}

// calm reports whether nothing goes wrong, so that nothing may be refused either.
func (f faults) calm() bool { return f.lost+f.late+f.conflict+f.kill+f.away.Seconds() == 0 }

// world is one history.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	faults faults
	defect defect

	log       *memlog.Log
	replicas  []*memlog.Replica
	feed      feed
	keys      *signing.Keys
	hasher    *password.Hasher
	processes []*process
	tasks     []*task
	late      []late
	audit     []*work
	seen      map[events.EventID]bool

	people   []*person
	clients  []*client
	sessions []*known
	byID     map[events.SessionID]*known
	access   []*access
	attempts []*attempt
	revoked  []revoked
	cuts     map[string][]stored
	// disturbed is the last step at which a credential or a cut was recorded.
	disturbed int
	lifted    map[events.RevocationID]bool

	step      int
	violation string
	history   []string
	stats     map[string]int
}

// newWorld has three people, three clients and three issuers on three replicas.
func newWorld(t *testing.T, seed uint64, keys *signing.Keys, f faults, d defect) *world {
	t.Helper()
	hasher, err := password.New(password.Config{Memory: 8, Time: 1, Queue: 100})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), faults: f, defect: d,
		log: memlog.New(1_795_310_000_000_000, depth), keys: keys, hasher: hasher,
		seen: map[events.EventID]bool{}, byID: map[events.SessionID]*known{}, cuts: map[string][]stored{}, stats: map[string]int{}, lifted: map[events.RevocationID]bool{},
	}
	for n := range 3 {
		replica := w.log.Replica()
		replica.Skew(w.skew())
		w.replicas = append(w.replicas, replica)
		p := &process{number: n + 1}
		w.boot(p)
		w.processes = append(w.processes, p)
	}
	for _, c := range []*client{{id: "mobile"}, {id: "kiosk"}, {id: "web", confidential: true}} {
		c.policy = w.policyOf(c.confidential)
		w.clients = append(w.clients, c)
	}
	w.calmly(func() { w.register("alice", "bob", "carol") })
	return w
}

// calmly does something while nothing goes wrong.
func (w *world) calmly(do func()) {
	usual := w.faults
	w.faults = faults{skew: usual.skew}
	do()
	w.faults = usual
}

// declare lets every process say how long its tokens live, before any command has to:
// those would wait for each other where the bubble cannot see it.
func (w *world) declare() {
	for _, p := range w.processes {
		if p.declared.Equal(time.Now()) {
			continue
		}
		p.declared = time.Now()
		w.calmly(func() {
			var err error
			t := w.start("", p, func(ctx context.Context, s *issue.Service) { err = s.Declare(ctx) },
				func(t *task) { w.done(t, "a declaration", err) })
			w.finishTask(t)
		})
	}
}

// finishTask lets one command come to its end.
func (w *world) finishTask(t *task) {
	for waits, over := t.state(); waits != nil && !over && w.violation == ""; waits, over = t.state() {
		w.advance(t)
	}
}

// register makes the users, before anything goes wrong.
func (w *world) register(names ...string) {
	for _, name := range names {
		hash, err := w.hasher.Hash(w.t.Context(), name+"-0")
		if err != nil {
			w.t.Fatal(err)
		}
		p := &person{name: name, words: []*word{{text: name + "-0", version: 1}}, version: 1, roles: []string{"customer"}}
		w.people = append(w.people, p)
		t := w.start("registration of "+name, w.processes[0], func(ctx context.Context, s *issue.Service) {
			p.subject, err = s.Register(ctx, name, hash, []string{"customer"})
		}, func(*task) {
			if err != nil {
				w.t.Fatal(err)
			}
		})
		w.finishTask(t)
	}
	for _, r := range w.replicas {
		r.Follow(w.log.Last())
	}
}

func (w *world) personOf(sub events.Subject) *person {
	for _, p := range w.people {
		if p.subject == sub {
			return p
		}
	}
	return nil
}

func (w *world) clientOf(id events.ClientID) *client {
	for _, c := range w.clients {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (w *world) cutPlaces() []string { return slices.Sorted(maps.Keys(w.cuts)) }

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)+1))
}

func (w *world) skew() time.Duration {
	if w.faults.skew == 0 {
		return 0
	}
	return w.between(-w.faults.skew, w.faults.skew)
}

func (w *world) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%5d %s "+format, append([]any{w.step, time.Now().Format("15:04:05.000")}, args...)...))
}

// run takes so many steps, or fewer if something promised does not hold.
func (w *world) run(steps int) {
	for w.step = 1; w.step <= steps && w.violation == ""; w.step++ {
		w.act()
	}
	if w.violation == "" {
		w.end()
	}
	for len(w.tasks) > 0 {
		w.kill(w.tasks[0].process)
	}
}

// act does one thing of all that could happen next.
func (w *world) act() {
	w.declare()
	roll, stopped := w.rng.IntN(1000), w.stopped()
	switch {
	case roll < 560 && len(stopped) > 0:
		w.advance(pick(w, stopped...))
	case roll < 700 && len(w.tasks) < 8:
		w.command()
	case roll < 800:
		w.pass()
	case roll < 870:
		w.follow()
	case roll < 950:
		w.finish()
	case roll < 965:
		w.arrive()
	case roll < 970:
		c := pick(w, w.clients...)
		c.policy = w.policyOf(c.confidential)
		w.note("the policy of %s is now %+v", c.id, c.policy)
	case roll < 980:
		if w.chance(w.faults.kill) {
			w.kill(pick(w, w.processes...))
		}
	default:
		if a := w.someAccess(); a != nil {
			w.checkToken(a)
		}
	}
}

// pass lets time go by: mostly little, sometimes more than anything lives.
func (w *world) pass() {
	var d time.Duration
	switch roll := w.rng.IntN(1000); {
	case roll < 650:
		d = w.between(time.Millisecond, 50*time.Millisecond)
	case roll < 890:
		d = w.between(50*time.Millisecond, 3*time.Second)
	case roll < 970:
		d = w.between(3*time.Second, 30*time.Second)
	case roll < 995:
		d = w.between(30*time.Second, 5*time.Minute)
	default:
		d = w.between(5*time.Minute, 3*time.Hour)
	}
	if d > max(w.faults.away, 100*time.Millisecond) {
		w.quiet() // nobody stands still for so long
	}
	if len(w.stopped()) < len(w.tasks) {
		d = max(d, nap) // whoever sleeps wakes, whenever exactly that is
	}
	w.note("%s pass", d)
	w.sleep(d)
}

// sleep lets time go by, and those wake who wake in it.
func (w *world) sleep(d time.Duration) {
	time.Sleep(d)
	w.settle()
	w.declare()
}

// quiet lets everything under way come to its end.
func (w *world) quiet() {
	for _, l := range w.late {
		if w.chance(0.5) {
			w.note("%s arrives late: %s", l.what, outcome(l.effect()))
		}
	}
	w.late = nil
	for len(w.tasks) > 0 && w.violation == "" {
		if stopped := w.stopped(); len(stopped) > 0 {
			w.advance(stopped[0])
		} else {
			w.sleep(nap)
		}
	}
}

// follow lets one replica catch up, or a bit.
func (w *world) follow() {
	r := pick(w, w.replicas...)
	behind := w.log.Last() - r.Applied()
	if behind == 0 || w.chance(w.faults.lag) {
		return
	}
	if w.faults.lag > 0 && w.chance(0.5) {
		behind = 1 + w.rng.Uint64N(behind)
	}
	r.Follow(r.Applied() + behind)
}
