package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
)

// Requests puts what became of the requests of a case into a row of the table, of which
// so many seconds were measured.
func (t *Table) Requests(row string, s measure.Summary, seconds float64) {
	if seconds > 0 {
		t.Set(row, Column{"answered", "/s", Higher}, float64(s.Answered)/seconds)
	}
	ms := func(name string, d time.Duration) {
		t.Set(row, Column{name, "ms", Lower}, measure.Milliseconds(d))
	}
	ms("mean", s.Latency.Mean())
	for _, p := range []float64{50, 90, 99, 99.9} {
		ms(fmt.Sprintf("p%g", p), s.Latency.At(p))
	}
	ms("max", s.Latency.Max())
	ms("service p99", s.Service.At(99))
	ms("start delay p99", s.StartDelay.At(99))
	t.Set(row, Column{"errors", "%", Lower}, 100*share(s.Errors(), s.Due))
	t.Set(row, Column{"late starts", "%", ""}, 100*share(s.Late, s.Due))
}

func share(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// Tell remarks on the requests of a case: what was answered, and what puts its figures
// in doubt.
func (r *Result) Tell(row string, s measure.Summary) {
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
	r.Remark("%s: %d due; %s.", row, s.Due, strings.Join(parts, ", "))
	r.Remark("Times count from when a request was due; service from when it was sent; start delay is between the two.")
	if s.FirstFailure != "" {
		r.Remark("%s: the first failure was: %s", row, s.FirstFailure)
	}
	if s.Saturated() {
		r.Remark("%s: the client was saturated.", row)
		r.Remark("A saturated client started requests late though a connection was free. Part of those latencies is its own; send less, or give it more CPU.")
	}
}

// Remark adds a remark, once.
func (r *Result) Remark(format string, args ...any) {
	if remark := fmt.Sprintf(format, args...); !slices.Contains(r.Remarks, remark) {
		r.Remarks = append(r.Remarks, remark)
	}
}

// Distribution is a plot of how long it took, by share of requests.
func Distribution(name, what string, of map[string]measure.Times) Plot {
	p := Plot{
		Name: name, Shape: Step, X: Axis{Label: what, Unit: "ms", Log: true}, Y: Axis{Label: "share of all", Unit: "%"},
	}
	for _, row := range slices.Sorted(maps.Keys(of)) {
		s := Series{Name: row}
		for _, at := range of[row].Distribution() {
			s.X = append(s.X, max(measure.Milliseconds(at.Within), 0.001))
			s.Y = append(s.Y, 100*at.Share)
		}
		p.Series = append(p.Series, s)
	}
	return p
}
