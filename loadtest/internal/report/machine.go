package report

import (
	"fmt"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// Machine is where the load came from and, for what a run starts itself, where all of
// it ran.
type Machine struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Kernel string `json:"kernel,omitempty"`
	// CPU is the model by its own name, and CPUs how many of it Go uses.
	CPU  string `json:"cpu,omitempty"`
	CPUs int    `json:"cpus"`
	// Memory is in bytes; 0 where the system does not tell.
	Memory uint64 `json:"memory_bytes,omitempty"`
	Go     string `json:"go"`
}

// ThisMachine describes the one this runs on, as far as the system tells.
func ThisMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version()}
	if kernel, err := host.KernelVersion(); err == nil {
		m.Kernel = kernel
	}
	if models, err := cpu.Info(); err == nil && len(models) > 0 {
		m.CPU = models[0].ModelName
	}
	if memory, err := mem.VirtualMemory(); err == nil {
		m.Memory = memory.Total
	}
	return m
}

// String is one line.
func (m Machine) String() string {
	s := fmt.Sprintf("%s/%s %s, %d CPUs", m.OS, m.Arch, m.Kernel, m.CPUs)
	if m.CPU != "" {
		s += " of " + m.CPU
	}
	if m.Memory > 0 {
		s += fmt.Sprintf(", %.1f GiB", float64(m.Memory)/(1<<30))
	}
	return s + ", " + m.Go
}
