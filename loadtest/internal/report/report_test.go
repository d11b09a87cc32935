package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
)

var noon = time.Date(2026, time.November, 1, 12, 0, 0, 0, time.UTC)

// requests are four: a fast one, one refused, one that timed out and one that never
// started.
func requests() measure.Summary {
	r := measure.New(noon)
	at := func(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }
	r.Record(measure.Sample{Due: noon, Sent: at(2), Done: at(5), Status: 200, Want: 200})
	r.Record(measure.Sample{Due: noon, Sent: at(0), Done: at(1), Status: 401, Want: 200})
	r.Record(measure.Sample{Due: noon, Sent: at(0), Done: at(1000), Failure: measure.Timeout, Cause: errors.New("took too long")})
	r.Abandon(noon, at(2000))
	return r.Summary()
}

func result() report.Result {
	s := requests()
	r := report.Result{
		Scenario: "verify", Version: "v1", Began: noon, Seconds: 10,
		Setting:  []report.Fact{{Name: "target", Value: "http://127.0.0.1/auth"}},
		Machine:  report.Machine{OS: "linux", Arch: "amd64", CPUs: 2, Go: "go1.26"},
		Tables:   []report.Table{{Name: "requests", Of: "front"}},
		Plots:    []report.Plot{report.Distribution("Latency", "latency", map[string]measure.Times{"forward-auth": s.Latency})},
		Verdicts: []measure.Verdict{measure.NoErrors().Judge(s), {Objective: "p50<5s", Value: "5ms", Kept: true}},
	}
	r.Tables[0].Requests("forward-auth", s, 10)
	r.Tell("forward-auth", s)
	return r
}

func TestText(t *testing.T) {
	r := result()
	text := strings.Join(strings.Fields(r.Text()), " ")
	for _, part := range []string{
		"scenario verify, 2026-11-01T12:00:00Z, loadtest v1", "target http://127.0.0.1/auth", "2 CPUs",
		"front answered /s mean ms p50 ms p90 ms p99 ms p99.9 ms max ms service p99 ms start delay p99 ms errors % late starts %",
		"forward-auth 0.200 ", " 75 25 ", "4 due; 200: 1, 401: 1, timeout: 1, never started: 1",
		"the first failure was: took too long", "slo errors<=0% 75% MISSED", "slo p50<5s 5ms kept", "the client was saturated",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, r.Text())
		}
	}
	if strings.Contains(text, "Interrupted") {
		t.Error("nobody interrupted it")
	}
	r.Interrupted = true
	if !strings.Contains(r.Text(), "Interrupted") {
		t.Error("an interruption does not show")
	}
	if missed := r.Missed(); len(missed) != 1 || missed[0].Objective != "errors<=0%" {
		t.Errorf("missed: %v", missed)
	}
}

// Without any request the table shows zeros, not nonsense.
func TestTextOfNothing(t *testing.T) {
	var table report.Table
	table.Requests("none", measure.New(noon).Summary(), 0)
	if text := (report.Result{Tables: []report.Table{table}}).Text(); strings.Contains(text, "NaN") || !strings.Contains(text, "none") {
		t.Error(text)
	}
}

// A table takes figures in any order, several a cell, and leaves the others empty.
func TestTable(t *testing.T) {
	var table report.Table
	table.Set("a", report.Column{Name: "x"}, 3)
	table.Set("b", report.Column{Name: "y", Unit: "ms"}, 1, 9)
	table.Set("b", report.Column{Name: "y", Unit: "ms"}, 2)
	text := strings.Join(strings.Fields((report.Result{Tables: []report.Table{table}}).Text()), " ")
	if !strings.Contains(text, "x y ms a 3 b – 2 (1–9)") {
		t.Error(text)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 7: "7", 1234567: "1234567", 1234.5: "1235", 12.345: "12.3", 1.2345: "1.23", 0.12345: "0.123", 0.0012345: "0.00123", 0.00001: "1e-05", -2.5: "-2.50",
	} {
		if got := report.Number(v); got != want {
			t.Errorf("%v reads %s, want %s", v, got, want)
		}
	}
	if even := report.Median([]float64{4, 1, 3, 2}); even != 2.5 {
		t.Errorf("median %v", even)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	r := result()
	for range 2 { // the second time over the first
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "verify.txt"))
	if err != nil || string(text) != r.Text() {
		t.Errorf("%s, %v", text, err)
	}
	text, err = os.ReadFile(filepath.Join(dir, "verify.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got report.Result
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v", got, err)
	}
	if !bytes.Contains(text, []byte(`"errors<=0%"`)) {
		t.Errorf("objectives cannot be searched for: %s", text)
	}
	if err := r.Write(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "verify.json") {
		t.Errorf("writing nowhere: %v", err)
	}
}

// One figure that is no number does not cost the others.
func TestNoNumbers(t *testing.T) {
	r := report.Result{
		Scenario: "verify", Began: noon, Tables: []report.Table{{Name: "requests", Of: "front"}},
		Plots: []report.Plot{{Name: "Latency", Shape: report.Line, Series: []report.Series{{Name: "a", X: []float64{1, 2, 3}, Y: []float64{4, math.NaN(), 6}}}}},
	}
	r.Tables[0].Set("a", report.Column{Name: "x"}, 1, math.NaN(), 2)
	r.Tables[0].Set("a", report.Column{Name: "y"}, math.Inf(1))
	before := fmt.Sprint(r)
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := report.Parse(text)
	if err != nil || !reflect.DeepEqual(got.Tables[0].Rows[0].Values, [][]float64{{1, 2}, {}}) || !reflect.DeepEqual(got.Plots[0].Series[0].Y, []float64{4, 6}) {
		t.Errorf("%+v, %v", got, err)
	}
	if fmt.Sprint(r) != before {
		t.Error("the result was changed")
	}
}

// progress runs in virtual time over a run of ten seconds, two of them warm-up, and
// answers a hundred requests a second.
func progress(t *testing.T, terminal bool) string {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10500*time.Millisecond)
		defer cancel()
		p := report.Progress{Out: &out, Terminal: terminal, Began: began, WarmUp: 2 * time.Second, Length: 10 * time.Second}
		p.Run(ctx, func() measure.Summary {
			s := measure.New(began).Summary()
			s.Answered = max(0, time.Since(began.Add(p.WarmUp)).Milliseconds()/10)
			s.Due = s.Answered
			return s
		})
	})
	return out.String()
}

func TestProgress(t *testing.T) {
	want := "loadtest:   5s of 10s  100/s  p99 0.000 ms  0 errors\nloadtest:  10s of 10s  100/s  p99 0.000 ms  0 errors\n"
	if got := progress(t, false); got != want {
		t.Errorf("%q", got)
	}
	got := progress(t, true)
	if strings.Contains(got, "\n") || !strings.HasSuffix(got, "\r\x1b[K") || strings.Count(got, "warming up") != 4 || strings.Count(got, "100/s") != 17 {
		t.Errorf("%q", got)
	}
}
