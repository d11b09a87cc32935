// Package report shows what a run measured: as it runs, as a table for people, and as
// JSON for programs.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
)

// Result is a run with all that is needed to judge and to repeat it.
type Result struct {
	Scenario string    `json:"scenario"`
	Version  string    `json:"version"`
	Began    time.Time `json:"began"`
	// Interrupted says that the run ended before its time.
	Interrupted bool    `json:"interrupted"`
	Machine     Machine `json:"machine"`
	Load        Load    `json:"load"`
	// Seconds is how long requests were measured, and Rate how many of them were
	// answered a second.
	Seconds  float64           `json:"measured_s"`
	Rate     float64           `json:"answered_per_s"`
	Requests measure.Summary   `json:"requests"`
	Client   Client            `json:"client"`
	Verdicts []measure.Verdict `json:"objectives"`
}

// Load is what was sent.
type Load struct {
	Target string `json:"target"`
	// Local says that the target was started for this run, on this machine.
	Local       bool    `json:"local"`
	Rate        float64 `json:"rate_per_s"`
	Duration    float64 `json:"duration_s"`
	WarmUp      float64 `json:"warm_up_s"`
	Connections int     `json:"connections"`
	Timeout     float64 `json:"timeout_s"`
	Tokens      int     `json:"tokens"`
	Expect      int     `json:"expected_status"`
	Seed        uint64  `json:"seed"`
}

// Machine is where the load came from.
type Machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	Go   string `json:"go"`
}

// ThisMachine describes the one this runs on.
func ThisMachine() Machine {
	return Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version()}
}

// Client is what the load generator itself needed.
type Client struct {
	// CPUs is how many processors it kept busy on average, while it measured and
	// warmed up; 0 where the system does not tell.
	CPUs float64 `json:"cpus_busy"`
	// Saturated says that the latencies are partly the client's own.
	Saturated bool `json:"saturated"`
}

// Missed are the objectives that were not kept.
func (r Result) Missed() []measure.Verdict {
	return slices.DeleteFunc(slices.Clone(r.Verdicts), func(v measure.Verdict) bool { return v.Kept })
}

// JSON is the result for programs, with a newline at its end.
func (r Result) JSON() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // p99<5ms shall read as what was asked for
	if err := encoder.Encode(r); err != nil {
		return nil, fmt.Errorf("encoding the result: %w", err)
	}
	return text.Bytes(), nil
}

// Table is the result for people.
func (r Result) Table() string {
	var b strings.Builder
	row := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(row, name+"\t"+format+"\n", args...) // a Builder takes everything
	}
	l, q, m := r.Load, r.Requests, r.Machine
	line("scenario", "%s, %s, loadtest %s", r.Scenario, r.Began.Format(time.RFC3339), r.Version)
	line("target", "%s%s", l.Target, map[bool]string{true: " (local stack, same machine)"}[l.Local])
	line("load", "%g/s for %gs after %gs of warm-up, open loop (Poisson, seed %d)", l.Rate, l.Duration, l.WarmUp, l.Seed)
	line("", "%d connections, %d tokens, timeout %gs", l.Connections, l.Tokens, l.Timeout)
	line("client", "%s/%s, %d CPUs, %s; %.2f CPUs busy", m.OS, m.Arch, m.CPUs, m.Go, r.Client.CPUs)
	line("", "%s of starts over %s late, %s for want of a connection", percent(q.Late, q.Due), measure.Late, percent(q.Queued, q.Due))
	line("requests", "%d due in %.1fs, %d answered (%.1f/s), %d errors (%s)", q.Due, r.Seconds, q.Answered, r.Rate, q.Errors(), percent(q.Errors(), q.Due))
	line("", "%s", outcomes(q))
	if q.FirstFailure != "" {
		line("", "first failure: %s", q.FirstFailure)
	}
	_ = row.Flush()

	b.WriteByte('\n')
	figures := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(figures, "ms\tmean\tp50\tp90\tp99\tp99.9\tmax\t")
	for _, f := range []struct {
		name string
		measure.Times
	}{{"latency", q.Latency}, {"service", q.Service}, {"start delay", q.StartDelay}} {
		_, _ = fmt.Fprintf(figures, "%s\t", f.name)
		for _, d := range []time.Duration{f.Mean(), f.At(50), f.At(90), f.At(99), f.At(99.9), f.Max()} {
			_, _ = fmt.Fprintf(figures, "%.3f\t", measure.Milliseconds(d))
		}
		_, _ = fmt.Fprintln(figures)
	}
	_ = figures.Flush()
	b.WriteString("\nlatency: from when a request was due; service: from when it was sent; start delay: between the two\n")

	verdicts := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(verdicts)
	for _, v := range r.Verdicts {
		_, _ = fmt.Fprintf(verdicts, "slo\t%s\t%s\t%s\n", v.Objective, v.Value, map[bool]string{true: "kept", false: "MISSED"}[v.Kept])
	}
	_ = verdicts.Flush()
	if r.Client.Saturated {
		b.WriteString("\nThe client was saturated: it started requests late though a connection was free.\nPart of these latencies is its own; send less, or give it more CPU.\n")
	}
	if r.Interrupted {
		b.WriteString("\nInterrupted: this is what was measured until then.\n")
	}
	return b.String()
}

func percent(n, of int64) string {
	if of == 0 {
		return "0%"
	}
	return fmt.Sprintf("%.3g%%", 100*float64(n)/float64(of))
}

// outcomes counts answers by status, and what was not answered.
func outcomes(s measure.Summary) string {
	var parts []string
	add := func(name string, n int64) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", name, n))
		}
	}
	for _, status := range slices.Sorted(maps.Keys(s.Statuses)) {
		add(fmt.Sprint(status), s.Statuses[status])
	}
	for _, f := range slices.Sorted(maps.Keys(s.Failures)) {
		add(string(f), s.Failures[f])
	}
	add("never started", s.Unstarted)
	return strings.Join(parts, ", ")
}

// Write puts the result into dir, which is there already, as SCENARIO.json and
// SCENARIO.txt. Each is replaced as a whole or not at all.
func (r Result) Write(dir string) error {
	text, err := r.JSON()
	if err != nil {
		return err
	}
	return errors.Join(
		replace(filepath.Join(dir, r.Scenario+".json"), text),
		replace(filepath.Join(dir, r.Scenario+".txt"), []byte(r.Table())),
	)
}

func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
