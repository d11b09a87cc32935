package measure_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/loadtest/internal/measure"
)

var noon = time.Date(2026, time.November, 1, 12, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return noon.Add(d) }

// answered is a request due at noon that waited and was served for so long. It was to
// pass.
func answered(status int, waited, served time.Duration) measure.Sample {
	return measure.Sample{Due: noon, Sent: after(waited), Done: after(waited + served), Status: status, Want: 200}
}

func failed(f measure.Failure, waited, gaveUp time.Duration) measure.Sample {
	s := answered(0, waited, gaveUp)
	s.Failure, s.Cause = f, errors.New("the cause of "+string(f))
	return s
}

func about(got, want time.Duration) bool { return got >= want && got <= want+want/500 }

func TestLatencyCountsFromWhenItWasDue(t *testing.T) {
	r := measure.New(noon)
	r.Record(answered(200, 30*time.Millisecond, 2*time.Millisecond))
	s := r.Summary()
	for what, c := range map[string]struct{ got, want time.Duration }{
		"latency":     {s.Latency.At(99), 32 * time.Millisecond},
		"service":     {s.Service.At(99), 2 * time.Millisecond},
		"start delay": {s.StartDelay.At(99), 30 * time.Millisecond},
		"mean":        {s.Latency.Mean(), 32 * time.Millisecond},
		"max":         {s.Latency.Max(), 32 * time.Millisecond},
	} {
		if !about(c.got, c.want) {
			t.Errorf("%s: %s, want %s", what, c.got, c.want)
		}
	}
}

func TestWarmUpIsNotMeasured(t *testing.T) {
	r := measure.New(after(time.Second))
	r.Record(answered(500, 0, time.Second))
	r.Abandon(noon, after(time.Minute))
	if s := r.Summary(); s.Due != 0 || s.Latency.Count() != 0 {
		t.Errorf("%d requests were due, %d latencies", s.Due, s.Latency.Count())
	}
}

func TestWhatCounts(t *testing.T) {
	r := measure.New(noon)
	refused := answered(401, 0, time.Millisecond)
	refused.Want = 401
	passed := refused
	passed.Status = 200 // although it should not
	r.Record(refused)
	r.Record(answered(200, 0, time.Millisecond))
	r.Record(passed)
	r.Record(failed(measure.Timeout, 0, time.Second))
	r.Record(failed(measure.Connection, 0, time.Microsecond))
	r.Abandon(noon, after(3*time.Second))
	s := r.Summary()
	if s.Due != 6 || s.Answered != 3 || s.Unexpected != 1 || s.Unstarted != 1 || s.Errors() != 4 {
		t.Errorf("due %d, answered %d, unexpected %d, unstarted %d, errors %d", s.Due, s.Answered, s.Unexpected, s.Unstarted, s.Errors())
	}
	if s.FirstFailure != "the cause of timeout" {
		t.Errorf("first failure: %q", s.FirstFailure)
	}
	// The refused connection was quick; the two that were waited for count.
	if n := s.Latency.Count(); n != 5 {
		t.Errorf("%d latencies, want 5", n)
	}
	if !about(s.Latency.Max(), 3*time.Second) || !about(s.Latency.At(75), time.Second) {
		t.Errorf("the longest latencies are %s and %s", s.Latency.Max(), s.Latency.At(75))
	}
}

func TestFailureOf(t *testing.T) {
	nobody, hurry := &net.Dialer{}, &net.Dialer{Deadline: time.Unix(1, 0)}
	_, refused := nobody.DialContext(t.Context(), "tcp", "127.0.0.1:1")
	_, late := hurry.DialContext(t.Context(), "tcp", "127.0.0.1:1")
	for _, c := range []struct {
		err  error
		want measure.Failure
	}{
		{refused, measure.Connection},
		{late, measure.Timeout},
		{io.ErrUnexpectedEOF, measure.Connection},
		{fmt.Errorf("asking: %w", context.DeadlineExceeded), measure.Timeout},
	} {
		if got := measure.FailureOf(c.err); c.err == nil || got != c.want {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
}

func TestSaturation(t *testing.T) {
	late := func(queued bool) measure.Sample {
		s := answered(200, 2*measure.Late, 0)
		s.Queued = queued
		return s
	}
	for name, c := range map[string]struct {
		sample    measure.Sample
		saturated bool
	}{
		"in time":            {answered(200, measure.Late, 0), false},
		"late by itself":     {late(false), true},
		"no connection free": {late(true), false},
	} {
		r := measure.New(noon)
		for range 99 {
			r.Record(answered(200, 0, 0))
		}
		r.Record(c.sample)
		if r.Summary().Saturated() {
			t.Errorf("%s: one in a hundred is not yet too many", name)
		}
		r.Record(c.sample)
		r.Record(c.sample)
		if got := r.Summary().Saturated(); got != c.saturated {
			t.Errorf("%s: saturated is %t", name, got)
		}
	}
}

// Nothing is lost between what was due and what became of it.
func TestEverythingIsAccountedFor(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := measure.New(noon)
		n := rapid.IntRange(0, 50).Draw(rt, "n")
		for range n {
			worker := rapid.IntRange(0, 100).Draw(rt, "worker")
			waited := time.Duration(rapid.Int64Range(-1, int64(time.Hour)).Draw(rt, "waited"))
			served := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(rt, "served"))
			var one measure.Sample
			switch rapid.IntRange(0, 3).Draw(rt, "outcome") {
			case 0:
				one = answered(rapid.SampledFrom([]int{200, 401, 503}).Draw(rt, "status"), waited, served)
			case 1:
				one = failed(measure.Timeout, waited, served)
			case 2:
				one = failed(measure.Connection, waited, served)
			case 3:
				r.Abandon(noon, after(waited))
				continue
			}
			one.Worker = worker
			r.Record(one)
		}
		s := r.Summary()
		if s.Due != int64(n) || s.Due != s.Answered+s.Failures[measure.Timeout]+s.Failures[measure.Connection]+s.Unstarted {
			rt.Fatalf("%+v", s)
		}
		if s.Latency.Count() != s.Due-s.Failures[measure.Connection] {
			rt.Fatalf("%d latencies of %d", s.Latency.Count(), s.Due)
		}
	})
}

// A summary is of its moment, whatever is recorded after it.
func TestSummaryIsACopy(t *testing.T) {
	r := measure.New(noon)
	s := r.Summary()
	r.Record(answered(200, 0, time.Second))
	r.Record(failed(measure.Timeout, 0, time.Second))
	if len(s.Statuses) != 0 || len(s.Failures) != 0 || s.Latency.Count() != 0 {
		t.Errorf("an earlier summary changed: %+v", s)
	}
}

// The distribution rises from the shortest time to the longest and to all.
func TestDistribution(t *testing.T) {
	r := measure.New(noon)
	for ms := range 100 {
		r.Record(answered(200, 0, time.Duration(ms+1)*time.Millisecond))
	}
	points := r.Summary().Latency.Distribution()
	var before measure.Within
	for i, p := range points {
		if i > 0 && (p.Within < before.Within || p.Share <= before.Share) {
			t.Fatalf("%v after %v", p, before)
		}
		if want := float64(p.Within) / float64(100*time.Millisecond); p.Share < want-0.02 || p.Share > want+0.02 {
			t.Errorf("%.2f within %s", p.Share, p.Within)
		}
		before = p
	}
	if before.Share != 1 || !about(before.Within, 100*time.Millisecond) {
		t.Errorf("it ends with %v", before)
	}
	if none := measure.New(noon).Summary().Latency.Distribution(); len(none) != 0 {
		t.Errorf("of nothing: %v", none)
	}
}

func TestTimesAsJSON(t *testing.T) {
	r := measure.New(noon)
	r.Record(answered(200, 0, 1500*time.Microsecond))
	text, err := json.Marshal(r.Summary().Service)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]float64
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"mean_ms", "p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms"} {
		if got[key] < 1.49 || got[key] > 1.51 {
			t.Errorf("%s is %v in %s", key, got[key], text)
		}
	}
}
