package cores_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/revocast/revocast/loadtest/internal/cores"
)

// allowed are the processors of a process, as the kernel writes them.
func allowed(t *testing.T, status string) string {
	t.Helper()
	for line := range strings.Lines(status) {
		if list, is := strings.CutPrefix(line, "Cpus_allowed_list:"); is {
			return strings.TrimSpace(list)
		}
	}
	t.Fatalf("nothing is said of processors in %q", status)
	return ""
}

// threads are those of every thread of this process.
func threads(t *testing.T) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, path := range paths {
		if status, err := os.ReadFile(path); err == nil { // a thread may have ended
			all[allowed(t, string(status))] = true
		}
	}
	return all
}

// Sender and servers have processors of their own, and afterwards all of them again.
func TestPin(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	if all.Count() < 2 {
		t.Skip("there is one processor")
	}
	var mine cores.List
	for n := 0; len(mine) == 0; n++ {
		if all.IsSet(n) {
			mine = cores.List{n}
		}
	}
	before := threads(t)
	p, err := cores.Pin(mine)
	if err != nil {
		t.Fatal(err)
	}
	if now := threads(t); len(now) != 1 || !now[mine.String()] || runtime.GOMAXPROCS(0) != 1 {
		t.Errorf("this process is on %v by %d, not on %s", now, runtime.GOMAXPROCS(0), mine)
	}
	var child []byte
	if err := p.Servers(func() (err error) {
		child, err = exec.CommandContext(t.Context(), "cat", "/proc/self/status").Output()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	others := allowed(t, string(child))
	var theirs cores.List
	if err := theirs.UnmarshalText([]byte(others)); err != nil || len(theirs) != all.Count()-1 || theirs[0] == mine[0] {
		t.Errorf("a server is on %s, the client on %s", others, mine)
	}
	if now := threads(t); len(now) != 1 || !now[mine.String()] {
		t.Errorf("after a server's start this process is on %v", now)
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	if now := threads(t); len(now) != len(before) || runtime.GOMAXPROCS(0) < 2 && runtime.NumCPU() > 1 {
		t.Errorf("afterwards this process is on %v by %d, before on %v", now, runtime.GOMAXPROCS(0), before)
	}
}

func TestPinRefuses(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	var everything cores.List
	for n := range 1024 {
		if all.IsSet(n) {
			everything = append(everything, n)
		}
	}
	for _, list := range []cores.List{everything, {1023}} {
		if p, err := cores.Pin(list); err == nil && !all.IsSet(1023) {
			t.Errorf("%s was taken", list)
			if err := p.Release(); err != nil {
				t.Error(err)
			}
		}
	}
	// Of nobody nothing is asked.
	p, err := cores.Pin(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Servers(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
}
