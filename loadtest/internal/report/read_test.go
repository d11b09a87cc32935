package report_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/report"
)

// write puts r into dir below root, which is made.
func write(t *testing.T, r report.Result, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, r.Scenario+".json")
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Results are found below directories, each once; what is no result is passed over
// there, and is an error where it was named.
func TestRead(t *testing.T) {
	root := t.TempDir()
	first, second := result(), result()
	second.Scenario = "churn"
	file := write(t, first, root, "a")
	write(t, second, root, "b", "c")
	write(t, second, root, ".hidden")
	other := filepath.Join(root, "other.json")
	put(t, other, `{"name": "something else"}`)
	put(t, filepath.Join(root, "list.json"), `[1, 2]`)

	got, err := report.Read(root, file, root)
	if err != nil || !reflect.DeepEqual(got, []report.Result{first, second}) {
		t.Errorf("%d results, %v", len(got), err)
	}
	got, err = report.Read(other, file)
	if !errors.Is(err, report.ErrNotResult) || !strings.Contains(err.Error(), other) || len(got) != 1 {
		t.Errorf("a file that is no result: %d, %v", len(got), err)
	}
	empty := t.TempDir()
	if _, err := report.Read(empty); err == nil || !strings.Contains(err.Error(), empty+": no results there") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := report.Read(filepath.Join(root, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}

	got, err = report.ReadDir(filepath.Join(root, "a"))
	if err != nil || len(got) != 1 {
		t.Errorf("the directory of a run: %d, %v", len(got), err)
	}
	if got, err = report.ReadDir(root); err != nil || len(got) != 0 {
		t.Errorf("a directory of directories of runs: %d, %v", len(got), err)
	}
	if _, err := report.ReadDir(filepath.Join(root, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}

	// A damaged one is named, and the others are read.
	put(t, filepath.Join(root, "a", "propagate.json"), `{"scenario": "propagate", "be`)
	got, err = report.Read(root)
	if err == nil || !strings.Contains(err.Error(), "propagate.json: damaged") || len(got) != 2 {
		t.Errorf("a damaged one: %d, %v", len(got), err)
	}
}

// What no run writes is not taken for a result.
func TestParse(t *testing.T) {
	whole, err := result().JSON()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := report.Parse(whole); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, old, changed, want string }{
		{"cut off", "\n}\n", "", "damaged: unexpected end"},
		{"a newer version", `"interrupted"`, `"humidity": 3, "interrupted"`, `has the field "humidity", which this version does not know: read it with the loadtest that wrote it, v1`},
		{"a field of another kind", `"took_s": 10`, `"took_s": "ten"`, "damaged: json"},
		{"a path for a name", `"scenario": "verify"`, `"scenario": "../verify"`, `damaged: scenario "../verify"`},
		{"no scenario", `"scenario"`, `"name"`, "not a result of loadtest"},
		{"a shape that is none", `"shape": "step"`, `"shape": "pie"`, `plot "Latency": shape is "pie"`},
		{"a way to improve that is none", `"better": "lower"`, `"better": "sideways"`, `column "mean": better is "sideways"`},
		{"more values than columns", `"values": [`, `"values": [[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],`, `row "forward-auth": 23 values for 11 columns`},
		{"x that falls", `"x": [`, `"x": [2000000,`, `series "forward-auth": `},
		{"zero on a logarithmic axis", `"x": [`, `"x": [0,`, `series "forward-auth": `},
		{"a number that is none", `"took_s": 10`, `"took_s": 1e999`, "damaged: json"},
	} {
		text := strings.Replace(string(whole), c.old, c.changed, 1)
		if text == string(whole) {
			t.Fatalf("%s: nothing was changed", c.name)
		}
		if _, err := report.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	falling := result()
	falling.Plots[0].Series[0] = report.Series{Name: "down", X: []float64{2, 1}, Y: []float64{1, 1}}
	zero := result()
	zero.Plots[0].Series[0] = report.Series{Name: "zero", X: []float64{0, 1}, Y: []float64{1, 1}}
	for want, r := range map[string]report.Result{"x falls from 2 to 1": falling, "point 0, 1 on a logarithmic axis": zero} {
		text, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := report.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"scenario":"verify","version":"v1","began":"2026-11-01T12:00:00Z","machine":{"cpus":2},"setting":[{"name":"load","value":"1/s"}],` +
		`"tables":[{"name":"requests","of":"front","columns":[{"name":"p99","unit":"ms","better":"lower"}],"rows":[{"name":"proxy","values":[[1,2]]}]}],` +
		`"plots":[{"name":"Latency","shape":"step","x":{"label":"x","log":true},"y":{"label":"y"},"series":[{"name":"s","x":[1,2],"y":[3,4]}]}],"remarks":["so"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := report.Parse(text)
		if err != nil {
			return
		}
		again, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := report.Parse(again); err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("%v\n%+v\n%+v", err, r, back)
		}
		_, _ = r.Text(), r.Bench()
		report.Merge([]report.Result{r, r})
	})
}

// Runs that repeat one another become samples; others stay apart.
func TestMerge(t *testing.T) {
	run := func(at time.Duration, value float64) report.Result {
		r := report.Result{
			Scenario: "verify", Version: "v1", Began: noon.Add(at), Seconds: 10,
			Setting: []report.Fact{{Name: "load", Value: "100/s"}},
			Plots:   []report.Plot{{Name: "Latency", Shape: report.Line}},
			Tables:  []report.Table{{Name: "requests", Of: "front"}}, Remarks: []string{"the same"},
		}
		r.Tables[0].Set("proxy", report.Column{Name: "p99", Unit: "ms"}, value)
		return r
	}
	first, second, third := run(0, 1), run(time.Hour, 2), run(2*time.Hour, 3)
	third.Tables[0].Set("proxy", report.Column{Name: "max", Unit: "ms"}, 30)
	third.Tables = append(third.Tables, report.Table{Name: "memory", Of: "store"})
	third.Tables[1].Set("disk", report.Column{Name: "size"}, 7)
	faster, later, elsewhere, cut := run(0, 9), run(0, 9), run(0, 9), run(3*time.Hour, 9)
	faster.Setting = []report.Fact{{Name: "load", Value: "200/s"}}
	later.Version = "v2"
	elsewhere.Machine.CPUs = 64
	cut.Interrupted = true

	before := run(time.Hour, 2)
	got := report.Merge([]report.Result{second, faster, first, later, third, second, elsewhere, cut, cut})
	if !reflect.DeepEqual(before, second) {
		t.Error("merging has changed what was merged")
	}
	if len(got) != 5 || !reflect.DeepEqual(got[1:], []report.Result{faster, later, elsewhere, cut}) {
		t.Fatalf("%d results: %+v", len(got), got)
	}
	sum := got[0]
	if !sum.Began.Equal(noon) || sum.Seconds != 30 || sum.Interrupted || len(sum.Remarks) != 1 {
		t.Errorf("%+v", sum)
	}
	if want := [][]float64{{1, 2, 3}, {30}}; !reflect.DeepEqual(sum.Tables[0].Rows[0].Values, want) {
		t.Errorf("values %v, want %v", sum.Tables[0].Rows[0].Values, want)
	}
	if len(sum.Tables) != 2 || sum.Tables[1].Rows[0].Values[0][0] != 7 {
		t.Errorf("tables %+v", sum.Tables)
	}
	if len(sum.Plots) != 3 || sum.Plots[1].Name != "Latency, run 2 of 3" {
		t.Errorf("plots %+v", sum.Plots)
	}
	if want := (report.Fact{Name: "runs", Value: "3, begun 2026-11-01T12:00:00Z, 2026-11-01T13:00:00Z, 2026-11-01T14:00:00Z"}); sum.Setting[1] != want {
		t.Errorf("setting %+v", sum.Setting)
	}
	if got := report.Merge(nil); len(got) != 0 {
		t.Errorf("merging nothing gives %v", got)
	}
}
