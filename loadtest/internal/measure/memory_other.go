//go:build !linux

package measure

import (
	"fmt"

	"github.com/shirou/gopsutil/v4/process"
)

// memory is the resident set.
func memory(p *process.Process) (int64, error) {
	m, err := p.MemoryInfo()
	if err != nil {
		return 0, fmt.Errorf("looking at the memory of a process: %w", err)
	}
	return int64(m.RSS), nil //nolint:gosec // far below 2⁶³
}
