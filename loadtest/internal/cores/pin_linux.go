package cores

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Pins say who is on which processors. The zero Pins keep nobody anywhere. Its methods
// must not be called concurrently.
type Pins struct {
	all, client, servers unix.CPUSet
	pinned               bool
}

var errNone = errors.New("client and servers need a processor each, of those that this process may use")

// Pin keeps this process to the client's processors until [Pins.Release]. An empty list
// keeps it nowhere.
func Pin(client List) (*Pins, error) {
	p := &Pins{}
	if len(client) == 0 {
		return p, nil
	}
	if err := unix.SchedGetaffinity(0, &p.all); err != nil {
		return nil, fmt.Errorf("asking for this process's processors: %w", err)
	}
	p.servers = p.all
	for _, n := range client {
		if !p.all.IsSet(n) {
			return nil, fmt.Errorf("processor %d: %w", n, errNone)
		}
		p.client.Set(n)
		p.servers.Clear(n)
	}
	if p.servers.Count() == 0 {
		return nil, fmt.Errorf("processors %s: %w", client, errNone)
	}
	p.pinned = true
	if err := keepTo(&p.client); err != nil {
		return nil, errors.Join(err, p.Release())
	}
	runtime.GOMAXPROCS(p.client.Count())
	return p, nil
}

// Release lets this process run anywhere again.
func (p *Pins) Release() error {
	if !p.pinned {
		return nil
	}
	p.pinned = false
	err := keepTo(&p.all)
	runtime.SetDefaultGOMAXPROCS() // of what it may use now
	return err
}

// Servers calls start so that the processes which it starts, on the goroutine that calls
// it, have the servers' processors for good.
func (p *Pins) Servers(start func() error) error {
	if !p.pinned {
		return start()
	}
	// A process has the processors of the thread that made it, and on Linux it may end
	// with that thread (PR_SET_PDEATHSIG): so the thread goes there, and comes back.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &p.servers); err != nil {
		return fmt.Errorf("keeping servers to their processors: %w", err)
	}
	err := start()
	if back := unix.SchedSetaffinity(0, &p.client); back != nil {
		err = errors.Join(err, fmt.Errorf("keeping the client to its processors: %w", back))
	}
	return err
}

// keepTo moves every thread of this process. Those to come have their makers' processors.
func keepTo(set *unix.CPUSet) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("looking for this process's threads: %w", err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err == nil {
			err = unix.SchedSetaffinity(id, set)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // a thread may have ended meanwhile
			return fmt.Errorf("keeping thread %s to its processors: %w", thread.Name(), err)
		}
	}
	return nil
}
