package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that can be run again and again. Its exported fields are read
// by Start; they may be changed while it does not run. Its methods are safe for
// concurrent use. A Process must not be copied.
type Process struct {
	// Name is for messages.
	Name string
	// Path is the program; Args are its arguments, without its name.
	Path string
	Args []string
	// Env is its whole environment.
	Env []string
	// Dir is its working directory.
	Dir string
	// Log is the file that its standard output and error are appended to, made
	// with mode 0600. One file serves all runs.
	Log string

	mu  sync.Mutex
	cmd *exec.Cmd     // of the latest run; nil before the first
	out chan struct{} // closed when that run is over
	err error         // how it ended; valid once out is closed
}

// ErrRunning is returned by Start of a process that runs.
var ErrRunning = errors.New("it is running already")

// Start runs the program and returns at once. The program ends when Stop or Kill is
// called and not before: it belongs to no context.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("starting %s: %w", p.Name, ErrRunning)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	cmd := exec.Command(p.Path, p.Args...) //nolint:gosec,noctx // running the named program for as long as asked is the purpose
	cmd.Env, cmd.Dir = p.Env, p.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	err = cmd.Start()
	// The child has its own descriptor by now.
	if err = errors.Join(err, log.Close()); err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	out := make(chan struct{})
	p.cmd, p.out = cmd, out
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.err = err
		close(out)
	}()
	return nil
}

// running needs mu.
func (p *Process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.out:
		return false
	default:
		return true
	}
}

// Running reports whether the program was started and has not ended.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running()
}

// PID is the process id of the latest run, 0 before the first.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Done is closed when the latest run is over. It is nil before the first.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out
}

// Err says how the latest run ended: nil for exit status 0, an [exec.ExitError]
// otherwise, and nil too while it goes on.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return nil
	}
	return p.err
}

// Signal sends a signal to the program if it runs; syscall.SIGSTOP and SIGCONT make
// it hang for a while. A program that has ended is not an error.
func (p *Process) Signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to %s: %w", s, p.Name, err)
	}
	return nil
}

// Kill ends the program as a crash would, with SIGKILL, and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.Signal(os.Kill); err != nil {
		return err
	}
	if out := p.Done(); out != nil {
		<-out
	}
	return nil
}

// stopWithin bounds an orderly stop.
const stopWithin = 10 * time.Second

// ErrKilled is returned by Stop for a program that did not end when told to.
var ErrKilled = errors.New("it did not end when told to and was killed")

// Stop ends the program in an orderly way, with SIGTERM, and waits for it at most 10
// seconds and as long as ctx lasts; then it kills it and returns [ErrKilled]. A
// program that answers SIGTERM with another exit status than 0 is an error too.
// Stopping what does not run does nothing.
func (p *Process) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if !p.Running() {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.Done():
		if err := p.Err(); err != nil {
			return fmt.Errorf("stopping %s: %w", p.Name, err)
		}
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stopping %s: %w", p.Name, ErrKilled), p.Kill())
	}
}

// Tail gives the last lines of the log, at most n and at most 16 KiB.
func (p *Process) Tail(n int) string {
	const most = 16 << 10
	f, err := os.Open(p.Log)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // opened for reading only
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// environment is this process's own without what configures Revocast, and with its
// temporary files below dir.
func environment(dir string, more []string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REVOCAST_") && !strings.HasPrefix(v, "TMPDIR=") {
			env = append(env, v)
		}
	}
	return append(append(env, "TMPDIR="+dir), more...)
}
