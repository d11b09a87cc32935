package measure

import (
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// Process measures what a process takes, this one or another. The zero value is not
// useful; see [Watch].
type Process struct {
	process *process.Process
	began   time.Time
	used    time.Duration
}

// Watch begins to measure the process of that id.
func Watch(pid int) (Process, error) {
	p, err := process.NewProcess(int32(pid)) //nolint:gosec // process ids have 32 bits
	if err != nil {
		return Process{}, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	w := Process{process: p, began: time.Now()}
	w.used, err = w.time()
	return w, err
}

// time is the processor time that it has used since it began, to a hundredth of a
// second on Linux.
func (p Process) time() (time.Duration, error) {
	t, err := p.process.Times()
	if err != nil {
		return 0, fmt.Errorf("looking at process %d: %w", p.process.Pid, err)
	}
	return time.Duration((t.User + t.System) * float64(time.Second)), nil
}

// CPU is the processor time that it has used since Watch.
func (p Process) CPU() (time.Duration, error) {
	used, err := p.time()
	return used - p.used, err
}

// Busy is how many processors it has kept busy since Watch, on average; 0 where the
// system does not tell.
func (p Process) Busy() float64 {
	used, err := p.CPU()
	if err != nil {
		return 0
	}
	return used.Seconds() / time.Since(p.began).Seconds()
}

// Memory is how much it holds, in bytes. On Linux this is anonymous memory, what the
// kernel cannot take back (RssAnon of proc(5)); mapped files are not counted.
func (p Process) Memory() (int64, error) { return memory(p.process) }
