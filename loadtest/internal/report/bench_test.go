package report_test

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"golang.org/x/perf/benchfmt"

	"github.com/revocast/revocast/loadtest/internal/report"
)

// parsed is what benchstat makes of a result: values by name of the benchmark and unit,
// and which way units improve.
func parsed(t *testing.T, r report.Result) (values map[string]map[string][]float64, better map[string]string) {
	t.Helper()
	values, better = map[string]map[string][]float64{}, map[string]string{}
	reader := benchfmt.NewReader(bytes.NewReader(r.Bench()), "bench")
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.Result:
			name := record.Name.String()
			if values[name] == nil {
				values[name] = map[string][]float64{}
			}
			for _, v := range record.Values {
				values[name][v.Unit] = append(values[name][v.Unit], v.Value)
			}
			if os := record.GetConfig("goos"); os != r.Machine.OS {
				t.Errorf("goos is %q", os)
			}
		case *benchfmt.UnitMetadata:
			better[record.Unit] = record.Value
		default:
			t.Errorf("%v in\n%s", record, r.Bench())
		}
	}
	if err := reader.Err(); err != nil {
		t.Error(err)
	}
	return values, better
}

func TestBench(t *testing.T) {
	r := report.Result{
		Scenario: "verify", Version: "v1", Began: noon, Interrupted: true,
		Machine: report.Machine{OS: "linux", Arch: "amd64", CPU: "Some\nCPU", CPUs: 2},
		Setting: []report.Fact{{Name: "target", Value: "a\nUnit x better=lower\nBenchmarkEvil 1 2 x"}},
		Tables:  []report.Table{{Name: "all requests", Of: "front"}, {Name: "memory", Of: "entries"}, {Name: "nothing", Of: "front"}},
	}
	requests, memory := &r.Tables[0], &r.Tables[1]
	requests.Set("forward-auth", report.Column{Name: "p99", Unit: "ms", Better: report.Lower}, 4, 2, 3)
	requests.Set("forward-auth", report.Column{Name: "answered", Unit: "/s", Better: report.Higher}, 100, 200)
	requests.Set("forward-auth", report.Column{Name: "start delay p99", Unit: "µs"}, 5)
	requests.Set("sidecar asking Redis, TCP/0.5 ms = away", report.Column{Name: "errors", Unit: "%"}, 0, math.NaN(), 1)
	memory.Set("1000", report.Column{Name: "resident", Unit: "MiB", Better: report.Lower}, 2)
	memory.Set("1000", report.Column{Name: "errors", Unit: "%", Better: report.Lower}, 0.5)
	memory.Set("1000", report.Column{Name: "count"}, 7)
	memory.Set("", report.Column{Name: " "}, 1)

	values, better := parsed(t, r)
	if want := map[string]map[string][]float64{
		"Verify/all-requests/front=forward-auth-2":                            {"p99-sec": {4e-3, 2e-3, 3e-3}, "answered/s": {100, 200}, "start-delay-p99-sec": {5e-6}},
		"Verify/all-requests/front=sidecar-asking-Redis,-TCP-0.5-ms---away-2": {"errors-%": {0, 1}},
		"Verify/memory/entries=1000-2":                                        {"resident-B": {2 << 20}, "errors-%": {0.5}, "count": {7}},
		"Verify/memory/entries=--2":                                           {"-": {1}},
	}; !near(values, want) {
		t.Errorf("%v\nwant %v", values, want)
	}
	// One unit that improves in one table only is not said to.
	if want := map[string]string{"p99-sec": "lower", "answered/s": "higher", "resident-B": "lower"}; !reflect.DeepEqual(better, want) {
		t.Errorf("better: %v, want %v", better, want)
	}
	if values, _ := parsed(t, report.Result{}); len(values) != 0 {
		t.Errorf("nothing reads %v", values)
	}
}

// near compares to what is left of a value that was multiplied.
func near(got, want map[string]map[string][]float64) bool {
	if len(got) != len(want) {
		return false
	}
	for name, units := range want {
		if len(got[name]) != len(units) {
			return false
		}
		for unit, values := range units {
			have := got[name][unit]
			if len(have) != len(values) {
				return false
			}
			for n, v := range values {
				if math.Abs(have[n]-v) > 1e-9*math.Abs(v) {
					return false
				}
			}
		}
	}
	return true
}
