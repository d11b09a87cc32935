//go:build unix

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// session runs the blocks of one document in one shell, so that variables persist.
type session struct {
	// root is the working directory.
	root string
	// dir is where the session keeps its files, and its HOME and TMPDIR.
	dir string
	// env is added to the environment.
	env []string
	// patience is how long an orderly end may take before it is forced; 0 for two
	// minutes, which is longer than stopping takes.
	patience time.Duration
}

// The session's script. Blocks are read into it (.), so that what they define stays;
// those expected to fail run in a subshell, which they end. In the background a block
// has a process group of its own, ended in an orderly way when the session is over:
// its shell waits for the program that it runs.
const (
	scriptHead = `
docs_test_jobs=()
docs_test_runs() { [[ " $(jobs -rp | tr '\n' ' ') " == *" $1 "* ]]; }
docs_test_stop() {
  local tries kind=died
  if docs_test_runs "$1"; then
    kind=stopped
    kill -TERM -- "-$1"
    for ((tries = 300; tries > 0; tries--)); do
      docs_test_runs "$1" || break
      sleep 0.1
    done
    docs_test_runs "$1" && kill -KILL -- "-$1"
  fi
  wait "$1"
  echo "$kind $1 $?" >>"$DOCS_TEST/events"
}
docs_test_end() {
  local status=$? number
  trap - EXIT
  trap '' TERM
  set +e
  exec >/dev/null 2>&1
  echo "exit $status" >>"$DOCS_TEST/events"
  for ((number = ${#docs_test_jobs[@]} - 1; number >= 0; number--)); do
    docs_test_stop "${docs_test_jobs[number]}"
  done
  exit "$status"
}
docs_test_background() {
  set -m
  (
    trap exit TERM
    exec >"$DOCS_TEST/$1.out" 2>&1 </dev/null
    . "$DOCS_TEST/$1.sh"
  ) &
  set +m
  docs_test_jobs+=("$!")
  echo "started $! $1" >>"$DOCS_TEST/events"
}
docs_test_passed() {
  echo "$BASH_SOURCE: a command that was to fail did not" >&2
  exit 1
}
trap docs_test_end EXIT
trap 'trap "" TERM; exit 143' TERM
`
	scriptForeground = `
exec >"$DOCS_TEST/%[1]d.out" 2>&1 </dev/null
. "$DOCS_TEST/%[1]d.sh"
echo "done %[1]d 0" >>"$DOCS_TEST/events"
`
	scriptExpect = `
exec >"$DOCS_TEST/%[1]d.out" 2>&1 </dev/null
set +e
(set -e; . "$DOCS_TEST/%[1]d.sh")
docs_test_status=$?
set -e
echo "done %[1]d $docs_test_status" >>"$DOCS_TEST/events"
[[ $docs_test_status == %[2]d ]] || exit 1
`
	scriptBackground = `
docs_test_background %d
`
)

// run runs all blocks and gives what is wrong with them. When ctx ends, so does the
// session, and what it has started.
func (s session) run(ctx context.Context, fences []fence) error {
	script := scriptHead
	for i, f := range fences {
		if !f.commands || f.skip != "" {
			continue
		}
		switch {
		case f.background:
			script += fmt.Sprintf(scriptBackground, i)
		case f.expect != 0:
			script += fmt.Sprintf(scriptExpect, i, f.expect)
		default:
			script += fmt.Sprintf(scriptForeground, i)
		}
		if err := os.WriteFile(s.file(i, "sh"), []byte(runnable(f.text)), 0o600); err != nil {
			return err
		}
	}
	for _, dir := range []string{"home", "tmp"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "session.sh"), []byte(script), 0o600); err != nil {
		return err
	}
	err := s.shell(ctx)
	return errors.Join(s.judge(fences), err)
}

func (s session) file(block int, kind string) string {
	return filepath.Join(s.dir, strconv.Itoa(block)+"."+kind)
}

// shell runs the script. Its failure is told from the blocks, not from here.
func (s session) shell(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", filepath.Join(s.dir, "session.sh"))
	cmd.Dir, cmd.Env = s.root, s.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = cmp.Or(s.patience, 2*time.Minute)
	err := cmd.Run()
	if running := s.history().running; len(running) > 0 {
		// The shell was killed before it had stopped what it started.
		for pid := range running {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the session did not end in time: %w", err)
	} else if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return fmt.Errorf("running the session: %w", err)
	}
	return nil
}

// terminate ends the shell and the command it runs: a shell heeds a signal only when
// that is over. More than once, since a command that is just being started has not
// got its own handling of signals yet and loses one.
func terminate(shell *os.Process) error {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for range 10 {
		if shell.Signal(syscall.Signal(0)) != nil {
			break
		}
		if err := syscall.Kill(-shell.Pid, syscall.SIGTERM); err != nil {
			return err
		}
		<-ticker.C
	}
	return nil
}

// environment is this process's without what configures Revocast or make, and with the
// caches of Go where they were, since HOME moves.
func (s session) environment() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "REVOCAST_") && !strings.HasPrefix(name, "MAKE") && name != "MFLAGS" && name != "BASH_ENV" && name != "CDPATH" {
			env = append(env, v)
		}
	}
	return append(append(env, "DOCS_TEST="+s.dir, "HOME="+filepath.Join(s.dir, "home"), "TMPDIR="+filepath.Join(s.dir, "tmp")), s.env...)
}

// judge gives what is wrong with the blocks that were run.
func (s session) judge(fences []fence) error {
	var faults []error
	h := s.history()
	for i, f := range fences {
		if f.commands && f.skip == "" {
			status, over := h.status[i]
			var fault string
			switch {
			case !over && f.background:
				fault = "was not started"
			case !over:
				fault = fmt.Sprintf("did not get to its end: exit status %d", h.exit)
			case f.background && len(h.running) > 0:
				continue // killed with the session, which is a fault of its own
			case f.background && status != 0 && status != 128+int(syscall.SIGTERM):
				fault = fmt.Sprintf("ran in the background and ended with status %d", status)
			case !f.background && status != f.expect:
				fault = fmt.Sprintf("ended with status %d, want %d", status, f.expect)
			default:
				continue
			}
			faults = append(faults, fmt.Errorf("line %d: the block %s\n%s", f.line, fault, s.output(i)))
			if !f.background {
				break // nothing after it was run
			}
		}
		if f.compared {
			if err := compare(s.normalised(f.text), s.normalised(s.output(i-1))); err != nil {
				faults = append(faults, fmt.Errorf("line %d: the block is not what was printed: %w", f.line, err))
			}
		}
	}
	return errors.Join(faults...)
}

// history is what the session has written down.
type history struct {
	// status is the exit status of each block that ended, and 0 of those started in
	// the background; exit is that of the session.
	status map[int]int
	exit   int
	// running are the blocks in the background that were not stopped, by process.
	running map[int]int
}

func (s session) history() history {
	h := history{status: map[int]int{}, running: map[int]int{}}
	text, _ := os.ReadFile(filepath.Join(s.dir, "events"))
	for line := range strings.Lines(string(text)) {
		var kind string
		var a, b int
		_, _ = fmt.Sscan(line, &kind, &a, &b)
		switch kind {
		case "done":
			h.status[a] = b
		case "started":
			h.status[b], h.running[a] = 0, b
		case "stopped", "died":
			h.status[h.running[a]] = b
			delete(h.running, a)
		case "exit":
			h.exit = a
		}
	}
	return h
}

func (s session) output(block int) string {
	const most = 8 << 10
	text, _ := os.ReadFile(s.file(block, "out"))
	return string(text[max(0, len(text)-most):])
}

var (
	// recursive commands run this very test.
	recursive = regexp.MustCompile(`^\s*(\w+=\S* +)*(make( +[\w=.-]+)*? +(test|race|check)( +\w+=\S*)*|(bash +)?(\./)?\.ci/run|go +test\b.*)\s*(#.*\s*)?$`)
	// inverted commands are those that the shell's -e overlooks.
	inverted = regexp.MustCompile(`^\s*! +(.*\n)$`)
)

// runnable is a block as it is run: without commands that would run this test, and
// with the exit status of inverted commands made to count.
func runnable(block string) string {
	var b strings.Builder
	continued, open := false, false
	for line := range strings.Lines(block) {
		if !continued {
			if recursive.MatchString(line) {
				line = ": not run here: '" + strings.ReplaceAll(strings.TrimSpace(line), "'", "") + "'\n"
			}
			if m := inverted.FindStringSubmatch(line); m != nil {
				line, open = "if "+m[1], true
			}
		}
		continued = strings.HasSuffix(line, "\\\n")
		b.WriteString(line)
		if open && !continued {
			b.WriteString("then docs_test_passed; fi\n")
			open = false
		}
	}
	return b.String()
}

func TestRunnable(t *testing.T) {
	for line, skipped := range map[string]bool{
		"make test": true, "make test      # every test": true, "  make check": true, "make -C . race": true, "FUZZTIME=1s make check": true,
		"make check FUZZTIME=1s": true, "bash .ci/run": true, ".ci/run": true, "go test ./...": true, "go test -race ./sidecar/internal/gate": true,
		"make": false, "make demo": false, "make check-docs": false, "make tests": false, "make demo # make test": false, "bin/revocast demo": false,
		"make latest": false, "echo make test": false,
	} {
		if got := strings.HasPrefix(runnable(line+"\n"), ": not run"); got != skipped {
			t.Errorf("%q: skipped is %t", line, got)
		}
	}
	got := runnable("! one \\\n  ! more # why\ntwo ! three\n")
	if want := "if one \\\n  ! more # why\nthen docs_test_passed; fi\ntwo ! three\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
