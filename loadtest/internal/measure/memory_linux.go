package measure

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/process"
)

var errNoMemory = errors.New("no RssAnon")

// memory is read here, since gopsutil leaves this line out.
func memory(p *process.Process) (int64, error) {
	path := fmt.Sprintf("/proc/%d/status", p.Pid)
	content, err := os.ReadFile(path) //nolint:gosec // of a number
	if err != nil {
		return 0, fmt.Errorf("looking at the memory of a process: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		if kB, is := strings.CutPrefix(line, "RssAnon:"); is {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kB), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading %s: %w", path, err)
			}
			return n << 10, nil
		}
	}
	return 0, fmt.Errorf("reading %s: %w", path, errNoMemory) // a process that has ended
}
