package measure

import "time"

// CPU measures how busy this process is. The zero value is not useful; see [StartCPU].
type CPU struct {
	began time.Time
	used  time.Duration
}

// StartCPU begins to measure.
func StartCPU() CPU { return CPU{time.Now(), cpuTime()} }

// Busy is how many processors this process has kept busy since, on average; 0 where
// the system does not tell.
func (c CPU) Busy() float64 {
	return (cpuTime() - c.used).Seconds() / time.Since(c.began).Seconds()
}
