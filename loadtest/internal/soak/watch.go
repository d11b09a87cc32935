package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/target"
)

// Quantity is something about a process.
type Quantity struct {
	Name, Unit string
	// Judged says that it must not grow, and Coincidence by how much it may all the same.
	Judged      bool
	Coincidence float64
	// metric is what the process calls it; empty for what is measured from outside.
	metric string
	scale  float64
}

const mebi = 1 << 20

// Quantities are all that is watched of a process.
func Quantities() []Quantity {
	return []Quantity{
		{Name: "memory", Unit: "MiB", Judged: true, Coincidence: 1},
		{Name: "disk", Unit: "MiB"},
		{Name: "open files", Judged: true, Coincidence: 3, metric: "process_open_fds", scale: 1},
		{Name: "goroutines", Judged: true, Coincidence: 3, metric: "go_goroutines", scale: 1},
		{Name: "heap", Unit: "MiB", metric: "go_memstats_heap_inuse_bytes", scale: mebi},
		{Name: "entries", metric: "revocast_sidecar_denylist_narrow_entries", scale: 1},
	}
}

// Watched is a process and what was seen of it.
type Watched struct {
	Name string
	// Series are by the names of quantities; there is none of what it does not have.
	Series map[string]*Series

	process measure.Process
	metrics *target.Target
	data    string
}

// Watch begins to watch a process, whose metrics are at a URL and whose files lie in a
// directory. Close it.
func Watch(name string, pid int, metrics, data string) (*Watched, error) {
	w := &Watched{Name: name, Series: map[string]*Series{}, data: data}
	var err error
	if w.process, err = measure.Watch(pid); err != nil {
		return nil, err
	}
	w.metrics, err = target.New(target.Config{URL: metrics, Connections: 1, Timeout: lookWithin})
	return w, err
}

// lookWithin bounds a look at a process.
const lookWithin = 10 * time.Second

// Close closes the connection.
func (w *Watched) Close() { w.metrics.Close() }

// Look takes a sample.
func (w *Watched) Look(ctx context.Context, at time.Duration) error {
	memory, errMemory := w.process.Memory()
	disk, errDisk := used(w.data)
	says, errMetrics := w.read(ctx)
	if err := errors.Join(errMemory, errDisk, errMetrics); err != nil {
		return fmt.Errorf("looking at %s: %w", w.Name, err)
	}
	for _, q := range Quantities() {
		value, there := says[q.metric]
		switch q.Name {
		case "memory":
			value, there = float64(memory)/mebi, true
		case "disk":
			value, there = float64(disk)/mebi, true
		default:
			value /= q.scale
		}
		if !there {
			continue
		}
		if w.Series[q.Name] == nil {
			w.Series[q.Name] = &Series{}
		}
		w.Series[q.Name].Add(at, value)
	}
	return nil
}

// read gives the process's metrics that are one number.
func (w *Watched) read(ctx context.Context) (map[string]float64, error) {
	a, err := w.metrics.Ask(ctx, target.Request{})
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, fmt.Errorf("metrics: %d %s", a.Status, http.StatusText(a.Status))
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(a.Body))
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	all := map[string]float64{}
	for name, family := range families {
		if len(family.GetMetric()) == 1 {
			m := family.GetMetric()[0]
			all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return all, nil
}

// used is how many bytes the files of a directory have. What goes away meanwhile is not
// counted.
func used(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				total += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}
