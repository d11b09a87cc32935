package faults

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// inside runs this test binary once more, in a network and a mount namespace of its own:
// there it may make interfaces and mount what it likes, nothing of it reaches the
// machine, and the kernel takes all of it away with the last process. ok is false where
// that cannot be had; why says the reason then.
func inside() (code int, ok bool) {
	if err := inNamespace("ip", "link", "set", "lo", "up").Run(); err != nil {
		reason := "namespaces cannot be made: " + err.Error()
		if os.Getuid() != 0 {
			reason = "only root may make namespaces"
		}
		_ = os.Setenv(reasonVariable, reason)
		return 0, false
	}
	runtime.LockOSThread() // whose death would be taken for this process's
	defer runtime.UnlockOSThread()
	cmd := inNamespace("sh", append([]string{"-c", `ip link set lo up && exec "$0" "$@"`, "/proc/self/exe"}, os.Args[1:]...)...)
	self, err := os.Executable()
	if err != nil {
		return 0, false
	}
	cmd.Args[3] = self
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		if failed, is := errors.AsType[*exec.ExitError](err); is {
			return max(failed.ExitCode(), 1), true
		}
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

const (
	insideVariable = "REVOCAST_FAULTS_INSIDE"
	reasonVariable = "REVOCAST_FAULTS_OUTSIDE"
)

func inNamespace(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...) //nolint:noctx // it lives as long as this process
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	return cmd
}

// outside says why there are no namespaces; empty if there are.
func outside() string {
	if os.Getenv(insideVariable) != "" {
		return ""
	}
	return os.Getenv(reasonVariable)
}

// pod is a network namespace with one cable, to the test's own. address is the near
// end's.
type pod struct{ name, near, far, address string }

// pods counts them: worlds may run side by side.
var pods atomic.Int32

// newPod makes one, until the test ends.
func newPod(t *testing.T) *pod {
	t.Helper()
	n := pods.Add(1)
	id := fmt.Sprintf("%d-%d", os.Getpid(), n)
	p := &pod{name: "revocast-faults-" + id, near: "rvn" + id, far: "rvf" + id, address: fmt.Sprintf("10.213.%d.1", n)}
	t.Cleanup(func() {
		if err := ip("netns", "delete", p.name); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{
		{"netns", "add", p.name},
		{"link", "add", p.near, "type", "veth", "peer", "name", p.far, "netns", p.name},
		{"address", "add", p.address + "/30", "dev", p.near},
		{"link", "set", p.near, "up"},
		{"-netns", p.name, "address", "add", fmt.Sprintf("10.213.%d.2/30", n), "dev", p.far},
		{"-netns", p.name, "link", "set", p.far, "up"},
		{"-netns", p.name, "link", "set", "lo", "up"},
	} {
		if err := ip(args...); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func ip(args ...string) error {
	if text, err := exec.Command("ip", args...).CombinedOutput(); err != nil { //nolint:noctx // it takes no time
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return nil
}

// prefix makes a command run inside.
func (p *pod) prefix() []string {
	path, err := exec.LookPath("ip")
	if err != nil {
		path = "ip"
	}
	return []string{path, "netns", "exec", p.name}
}

// pull takes the cable out, plug puts it back.
func (p *pod) pull() error { return ip("link", "set", p.near, "down") }
func (p *pod) plug() error { return ip("link", "set", p.near, "up") }

// disk is a small file system.
type disk struct{ dir string }

// diskBytes leaves a sidecar some room above what it insists on, 128 MiB.
const diskBytes = 192 << 20

// newDisk mounts one at dir, until the test ends.
func newDisk(t *testing.T, dir string) *disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("revocast-faults", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", diskBytes)); err != nil {
		t.Fatalf("mounting %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &disk{dir}
}

// fill leaves not one byte.
func (d *disk) fill() (err error) {
	f, err := os.Create(filepath.Join(d.dir, "ballast"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.CopyN(f, zeros{}, diskBytes); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("filling the disk: %w", err)
	}
	return nil
}

func (d *disk) free() error { return os.Remove(filepath.Join(d.dir, "ballast")) }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
