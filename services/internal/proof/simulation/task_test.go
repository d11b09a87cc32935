package simulation

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/issue"
)

// task is one command under way in one process. It runs only when the world lets
// it, and stops at every call that leaves the process.
type task struct {
	name    string
	process *process
	// began is the step and the time at which the command arrived.
	began   int
	beganAt time.Time
	// left tasks have lost their caller.
	left bool
	// hangUp ends the context of whoever asked.
	hangUp context.CancelFunc
	// judge looks at the outcome.
	judge func(t *task)
	// login is what a login brings that the log does not say, word the password
	// that a change brings.
	login *credentials
	word  *word
	// entailed is the revocation that follows from what it has changed.
	entailed *events.Revocation
	// records are what it read first (see [readsAreReused]).
	records []events.Record

	resume chan struct{}

	// A task that sleeps wakes by itself, so that the world and it may look at the
	// same moment.
	mu sync.Mutex
	// waits is the call it has stopped at. Without one, and not over, it sleeps or
	// waits for another command of its process.
	waits *call
	over  bool
	// killed tasks go no further and are not judged.
	killed bool
}

// state is whether the task is over, and what it waits for.
func (t *task) state() (waits *call, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waits, t.over
}

// stop is state for the task itself: it stops at a call, or goes on from it if that is
// nil. A killed one goes no further.
func (t *task) stop(at *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits = at
	if t.killed {
		runtime.Goexit()
	}
}

func (t *task) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits, t.over = nil, true
}

// call is one request that leaves the process.
type call struct {
	what string
	// effect happens at the server.
	effect func() error
	// conditional calls may be told that another came first.
	conditional bool
	// isolated calls do not leave the machine and cannot be lost.
	isolated bool
	since    time.Time
	// answered: the effect has happened, the answer is on its way.
	answered bool
	err      error
	tries    int
}

type taskKey struct{}

// start lets a command run up to its first call.
func (w *world) start(name string, p *process, run func(ctx context.Context, s *issue.Service), judge func(t *task)) *task {
	ctx, hangUp := context.WithCancel(w.t.Context())
	t := &task{
		name: fmt.Sprintf("%s@%d", name, p.number), process: p, began: w.step, beganAt: time.Now(),
		hangUp: hangUp, judge: judge, resume: make(chan struct{}),
	}
	w.tasks = append(w.tasks, t)
	if name != "" {
		w.stats["commands"]++
		w.note("%s begins", t.name)
	}
	go func() {
		defer t.end()
		run(context.WithValue(ctx, taskKey{}, t), p.service)
	}()
	w.settle()
	return t
}

// call stops the task until the world has decided what becomes of the request.
func (t *task) call(c *call) error {
	t.stop(c)
	<-t.resume
	t.stop(nil)
	return c.err
}

// settle waits until every task has stopped again, and judges those that are over.
func (w *world) settle() {
	synctest.Wait()
	var over []*task
	w.tasks = slices.DeleteFunc(w.tasks, func(t *task) bool {
		waits, ended := t.state()
		if ended {
			over = append(over, t)
		} else if waits != nil && waits.since.IsZero() {
			waits.since = time.Now()
		}
		return ended
	})
	for _, t := range over {
		if !t.killed {
			t.judge(t)
		}
		t.hangUp()
	}
}

// let the task go on behind the call it has stopped at.
func (w *world) let(t *task) {
	t.resume <- struct{}{}
	w.settle()
}

// stopped are the tasks that the world can let go on. The others wake by themselves.
func (w *world) stopped() (list []*task) {
	for _, t := range w.tasks {
		if waits, _ := t.state(); waits != nil {
			list = append(list, t)
		}
	}
	return list
}

// advance decides what becomes of the call a task has stopped at.
func (w *world) advance(t *task) {
	c, _ := t.state()
	if !t.left && w.chance(w.faults.leave) {
		t.left = true
		t.hangUp()
		w.stats["hang-ups"]++
		w.note("%s: its caller hangs up", t.name)
	}
	if !c.answered {
		w.decide(t, c)
		if !c.answered {
			return // asked again later
		}
		if c.err == nil && w.chance(w.faults.pause) {
			w.note("%s: %s is done, its answer on the way", t.name, c.what)
			return
		}
	}
	w.let(t)
}

// patience is how long an adapter tries before it says that the log is unavailable.
const patience = 8 * time.Second

// decide makes one fault at most.
func (w *world) decide(t *task, c *call) {
	fail := func(how string) {
		c.answered, c.err = true, errUnavailable
		w.stats["lost calls"]++
		w.note("%s: %s: %s", t.name, c.what, how)
	}
	switch {
	case !c.isolated && !w.faults.calm() && time.Since(c.since) > patience:
		fail("given up")
	case !c.isolated && w.chance(w.faults.lost):
		fail("lost")
	case !c.isolated && w.chance(w.faults.lost):
		_ = c.effect()
		fail("done, answer lost")
	case c.conditional && w.chance(w.faults.late):
		w.late = append(w.late, late{effect: c.effect, until: time.Now().Add(w.between(0, 30*time.Second)), what: t.name + ": " + c.what})
		fail("lost, perhaps not for good")
	case c.conditional && w.chance(w.faults.conflict):
		c.answered, c.err = true, errConflict
		w.stats["conflicts for no reason"]++
		w.note("%s: %s: told of a conflict", t.name, c.what)
	default:
		c.err = c.effect()
		c.answered = !isBehind(c.err)
		if c.tries++; !c.answered && c.tries > 5 && !w.faults.calm() {
			fail("every replica is behind")
			return
		}
		w.note("%s: %s: %s", t.name, c.what, outcome(c.err))
	}
}

// outcome says how a call ended without the ids in it, which differ from run to run.
func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case isBehind(err):
		return "the replica is behind"
	case errors.Is(err, events.ErrConflict):
		return "another came first"
	}
	return "failed"
}

// late is a request whose sender has given it up and which may still arrive.
type late struct {
	what   string
	effect func() error
	until  time.Time
}

// arrive lets some late requests take effect, and forgets others.
func (w *world) arrive() {
	var waiting []late
	for _, l := range w.late {
		switch {
		case w.chance(0.3):
			w.stats["late arrivals"]++
			w.note("%s arrives late: %s", l.what, outcome(l.effect()))
		case time.Now().Before(l.until):
			waiting = append(waiting, l)
		}
	}
	w.late = waiting
}

// kill ends a process: its commands go no further, though what they had sent may
// still happen. Another takes its place at once.
func (w *world) kill(p *process) {
	w.stats["kills"]++
	w.note("process %d dies", p.number)
	for _, t := range w.tasks {
		if t.process != p {
			continue
		}
		t.mu.Lock()
		t.killed = true
		c := t.waits
		t.mu.Unlock()
		if c != nil && !c.answered && w.chance(0.5) {
			w.note("%s: %s: %s, and its sender is gone", t.name, c.what, outcome(c.effect()))
		}
		if c != nil {
			t.resume <- struct{}{}
		} else {
			t.hangUp()
		}
		synctest.Wait()
	}
	w.settle()
	w.boot(p)
}
