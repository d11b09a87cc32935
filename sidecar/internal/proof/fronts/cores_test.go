//go:build linux

package fronts

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// cores are the servers' and the client's: the first two that this process may use, or
// twice the only one. Wherever the kernel puts them otherwise, they are in each other's
// way, and the slowest answers tell of that alone.
func cores(t *testing.T) (servers, client unix.CPUSet) {
	t.Helper()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for n := 0; all.Count() > 0 && client.Count() == 0; n++ {
		switch {
		case !all.IsSet(n):
		case servers.Count() == 0:
			servers.Set(n)
			if all.Count() == 1 {
				client.Set(n)
			}
		default:
			client.Set(n)
		}
	}
	return servers, client
}

// keepTo keeps this process to its core.
func keepTo(t *testing.T, core unix.CPUSet) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task") // those to come have their maker's cores
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SchedSetaffinity(id, &core); err != nil {
			t.Fatalf("keeping thread %d to its core: %v", id, err)
		}
	}
}

// startOn starts a process that has its maker's core for good. The thread stays, since
// the process ends with it (PR_SET_PDEATHSIG).
func startOn(core unix.CPUSet, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("asking for the thread's cores: %w", err)
	}
	if err := unix.SchedSetaffinity(0, &core); err != nil {
		return fmt.Errorf("keeping a process to its core: %w", err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }() // it had them before
	return cmd.Start()
}
