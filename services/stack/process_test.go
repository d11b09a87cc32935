package stack_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/revocast/revocast/services/stack"
)

func start(t *testing.T, p *stack.Process) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	// The arguments are logged before SIGTERM is listened for; the listener after.
	eventually(t, p.Name+" to listen", func() bool {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Args[3])
		if err != nil {
			return !p.Running()
		}
		return c.Close() == nil
	})
}

func TestStop(t *testing.T) {
	p := program(binDir(t), "sidecar")
	if err := p.Stop(within(t)); err != nil {
		t.Errorf("stopping what never ran: %v", err)
	}
	start(t, p)
	if !p.Running() || p.PID() == 0 {
		t.Fatal("it does not run")
	}
	if err := p.Start(); !errors.Is(err, stack.ErrRunning) {
		t.Errorf("starting it twice: %v", err)
	}
	if err := p.Stop(within(t)); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if p.Running() || alive(p.PID()) {
		t.Error("it still runs")
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signalling what has ended: %v", err)
	}
}

func TestStopTellsOfABadEnd(t *testing.T) {
	p := program(binDir(t), "sidecar", "PLAY=sidecar=sick")
	start(t, p)
	err := p.Stop(within(t))
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 4 {
		t.Errorf("got %v, want exit status 4", err)
	}
}

func TestStopKillsTheDeaf(t *testing.T) {
	p := program(binDir(t), "sidecar", "PLAY=sidecar=deaf")
	start(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx); !errors.Is(err, stack.ErrKilled) {
		t.Errorf("got %v, want ErrKilled", err)
	}
	if alive(p.PID()) {
		t.Error("it still runs")
	}
}

func TestKillAndStartAgain(t *testing.T) {
	p := program(binDir(t), "sidecar")
	start(t, p)
	first := p.PID()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	exit, ok := errors.AsType[*exec.ExitError](p.Err())
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v, want SIGKILL", p.Err())
	}
	start(t, p)
	if p.PID() == first || alive(first) {
		t.Errorf("process %d, then %d", first, p.PID())
	}
	if got := strings.Count(p.Tail(1000), "arguments "); got != 2 {
		t.Errorf("the log knows of %d runs, want 2", got)
	}
	info, err := os.Stat(p.Log)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("log file: %v, %v", info, err)
	}
}

func TestStartWithoutAProgram(t *testing.T) {
	p := program(t.TempDir(), "nothing")
	if err := p.Start(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if p.Running() {
		t.Error("it runs")
	}
}

func TestTail(t *testing.T) {
	dir := t.TempDir()
	p := program(dir, "sidecar")
	if got := p.Tail(3); got != "" {
		t.Errorf("without a log: %q", got)
	}
	long := strings.Repeat("x", 100)
	var text strings.Builder
	for i := range 1000 {
		text.WriteString(strconv.Itoa(i) + long + "\n")
	}
	if err := os.WriteFile(p.Log, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := p.Tail(2); got != "998"+long+"\n999"+long {
		t.Errorf("the last two lines are %q", got)
	}
	if got := p.Tail(1000); len(got) > 16<<10 || !strings.HasSuffix(got, "999"+long) {
		t.Errorf("%d bytes of a long log", len(got))
	}
}

// A parent that is killed has no say any more; the kernel sees to its children.
func TestChildrenEndWithTheirParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells children of their parent's death")
	}
	dir := binDir(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "parent"), dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || !alive(child) {
		t.Fatalf("child %q: %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	eventually(t, "the child to end", func() bool { return !alive(child) })
}

// alive reports whether a process exists that has not ended, by its state where the
// system shows it: an orphan that nobody has collected is dead all the same.
func alive(pid int) bool {
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
		_, after, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
	}
	return syscall.Kill(pid, 0) == nil
}
