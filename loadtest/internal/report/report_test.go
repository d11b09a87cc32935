package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
)

// result is of three requests: a fast one, one refused, one that timed out.
func result() report.Result {
	noon := time.Date(2026, time.November, 1, 12, 0, 0, 0, time.UTC)
	r := measure.New(noon, 200)
	at := func(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }
	r.Record(measure.Sample{Due: noon, Sent: at(2), Done: at(5), Status: 200})
	r.Record(measure.Sample{Due: noon, Sent: at(0), Done: at(1), Status: 401})
	r.Record(measure.Sample{Due: noon, Sent: at(0), Done: at(1000), Failure: measure.Timeout, Cause: errors.New("took too long")})
	r.Abandon(noon, at(2000))
	s := r.Summary()
	return report.Result{
		Scenario: "verify", Version: "v1", Began: noon, Seconds: 10, Rate: 0.2, Requests: s,
		Load:     report.Load{Target: "http://127.0.0.1/auth", Local: true, Rate: 0.4, Duration: 10, Seed: 3},
		Verdicts: []measure.Verdict{measure.NoErrors().Judge(s), {Objective: "p50<5s", Value: "5ms", Kept: true}},
		Client:   report.Client{CPUs: 0.5, Saturated: true},
	}
}

func TestTable(t *testing.T) {
	r := result()
	table := strings.Join(strings.Fields(r.Table()), " ")
	for _, part := range []string{
		"target http://127.0.0.1/auth (local stack, same machine)", "0.4/s for 10s", "seed 3", "0.50 CPUs busy",
		"4 due in 10.0s, 2 answered (0.2/s), 3 errors (75%)", "200: 1, 401: 1, timeout: 1, never started: 1",
		"first failure: took too long", "ms mean p50 p90 p99 p99.9 max", "2000.", "start delay 0.6",
		"slo errors<=0% 75% MISSED", "slo p50<5s 5ms kept", "The client was saturated",
	} {
		if !strings.Contains(table, part) {
			t.Errorf("no %q in\n%s", part, r.Table())
		}
	}
	if strings.Contains(table, "Interrupted") {
		t.Error("nobody interrupted it")
	}
	r.Interrupted = true
	if !strings.Contains(r.Table(), "Interrupted") {
		t.Error("an interruption does not show")
	}
	if missed := r.Missed(); len(missed) != 1 || missed[0].Objective != "errors<=0%" {
		t.Errorf("missed: %v", missed)
	}
}

// Without any request the table shows zeros, not nonsense.
func TestTableOfNothing(t *testing.T) {
	r := report.Result{Requests: measure.New(time.Now(), 200).Summary()}
	if table := r.Table(); strings.Contains(table, "NaN") || !strings.Contains(table, "0 due") {
		t.Error(table)
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
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "verify.txt"))
	if err != nil || string(text) != r.Table() {
		t.Errorf("%s, %v", text, err)
	}
	var got struct {
		Requests struct {
			Due      int
			Statuses map[string]int
			Latency  map[string]float64
		}
		Objectives []measure.Verdict
	}
	text, err = os.ReadFile(filepath.Join(dir, "verify.json"))
	if err != nil || json.Unmarshal(text, &got) != nil {
		t.Fatalf("%s, %v", text, err)
	}
	if q := got.Requests; q.Due != 4 || q.Statuses["401"] != 1 || q.Latency["count"] != 4 || len(got.Objectives) != 2 {
		t.Errorf("%+v", got)
	}
	if !bytes.Contains(text, []byte(`"errors<=0%"`)) {
		t.Errorf("objectives cannot be searched for: %s", text)
	}
	if err := r.Write(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "verify.json") {
		t.Errorf("writing nowhere: %v", err)
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
			s := measure.New(began, 200).Summary()
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
