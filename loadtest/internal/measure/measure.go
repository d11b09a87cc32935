// Package measure records what happened to every request and says what came of it.
//
// Three times are kept of a request. Its latency counts from when it was due, so that
// a request that had to wait because the ones before it were slow is not excused. Its
// service time counts from when it was sent. Its start delay is the difference, and
// shows how much of the latency was not the target's doing alone.
//
// Invariants:
//
//   - Whatever was due is counted: as answered, failed, or never started.
//   - A request that timed out, or never started, counts in the latencies with as long
//     as was waited for it. One whose connection failed counts as failed only: how
//     fast something fails says nothing about how fast it is.
//   - A run without measurements meets no objective.
package measure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Late is how much after its due time a start is called late. Less than that is in the
// nature of timers.
const Late = time.Millisecond

// Failure is why a request got no answer.
type Failure string

// The failures: no answer in time; no connection, or nothing on it that could be read.
const (
	Timeout    Failure = "timeout"
	Connection Failure = "connection"
)

// FailureOf says which failure an error is.
func FailureOf(err error) Failure {
	timeout, ok := errors.AsType[net.Error](err)
	if ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return Timeout
	}
	return Connection
}

// Sample is one request that was sent.
type Sample struct {
	// Due is when it should have been sent, Sent when it was, and Done when it was
	// answered or given up.
	Due, Sent, Done time.Time
	// Queued says that no connection was free when it was due.
	Queued bool
	// Status is the HTTP status of the answer, 0 for a failure; Want is the one that
	// would have been right. Both are 0 for what has none, such as an event.
	Status, Want int
	// Failure and Cause say why there was no answer.
	Failure Failure
	Cause   error
	// Worker is who sent it, counted from zero. Those who are many need not wait for each
	// other to have theirs recorded.
	Worker int
}

// Recorder gathers samples. Safe for concurrent use.
type Recorder struct {
	from   time.Time
	shards []shard
}

// shard is what some of the workers recorded.
type shard struct {
	mu      sync.Mutex
	sum     Summary
	latency *hdr.Histogram
	service *hdr.Histogram
	delay   *hdr.Histogram

	_ [128]byte // what two processors write lies apart
}

// mostShards bounds the memory of a recorder.
const mostShards = 16

// New makes a recorder that leaves out requests due before the time given.
func New(from time.Time) *Recorder {
	r := &Recorder{from: from, shards: make([]shard, min(runtime.GOMAXPROCS(0), mostShards))}
	for n := range r.shards {
		r.shards[n].sum = Summary{Statuses: map[int]int64{}, Failures: map[Failure]int64{}}
		r.shards[n].latency, r.shards[n].service, r.shards[n].delay = histogram(), histogram(), histogram()
	}
	return r
}

// Three digits from a nanosecond to two minutes cost 230 kB.
const (
	shortest = int64(time.Nanosecond)
	longest  = int64(2 * time.Minute)
	digits   = 3
)

func histogram() *hdr.Histogram { return hdr.New(shortest, longest, digits) }

// record keeps what is beyond the range at its end, where it is still as bad as can be.
func record(h *hdr.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(int64(d), 0), longest)) // in range by now
}

// Record adds a request.
func (r *Recorder) Record(s Sample) {
	if s.Due.Before(r.from) {
		return
	}
	of := &r.shards[s.Worker%len(r.shards)]
	of.mu.Lock()
	defer of.mu.Unlock()
	of.sum.Due++
	delay := s.Sent.Sub(s.Due)
	record(of.delay, delay)
	if delay > Late {
		of.sum.Late++
		if s.Queued {
			of.sum.Queued++
		}
	}
	switch s.Failure {
	case "":
		of.sum.Answered++
		of.sum.Statuses[s.Status]++
		if s.Status != s.Want {
			of.sum.Unexpected++
		}
	case Timeout, Connection:
		of.sum.Failures[s.Failure]++
		if of.sum.FirstFailure == "" && s.Cause != nil {
			of.sum.FirstFailure = s.Cause.Error()
		}
	}
	if s.Failure != Connection {
		record(of.latency, s.Done.Sub(s.Due))
		record(of.service, s.Done.Sub(s.Sent))
	}
}

// Abandon adds a request that was due and, at the moment given, will never be sent.
func (r *Recorder) Abandon(due, at time.Time) {
	if due.Before(r.from) {
		return
	}
	of := &r.shards[0]
	of.mu.Lock()
	defer of.mu.Unlock()
	of.sum.Due++
	of.sum.Unstarted++
	record(of.latency, at.Sub(due))
}

// Summary gives what was recorded so far.
func (r *Recorder) Summary() Summary {
	all := Summary{
		Statuses: map[int]int64{}, Failures: map[Failure]int64{},
		Latency: Times{histogram()}, Service: Times{histogram()}, StartDelay: Times{histogram()},
	}
	for n := range r.shards {
		r.shards[n].addTo(&all)
	}
	return all
}

func (s *shard) addTo(all *Summary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all.Due += s.sum.Due
	all.Answered += s.sum.Answered
	all.Unexpected += s.sum.Unexpected
	all.Unstarted += s.sum.Unstarted
	all.Late += s.sum.Late
	all.Queued += s.sum.Queued
	all.FirstFailure = cmp.Or(all.FirstFailure, s.sum.FirstFailure)
	for status, n := range s.sum.Statuses {
		all.Statuses[status] += n
	}
	for failure, n := range s.sum.Failures {
		all.Failures[failure] += n
	}
	all.Latency.h.Merge(s.latency) // of the same shape: nothing is dropped
	all.Service.h.Merge(s.service)
	all.StartDelay.h.Merge(s.delay)
}

// Summary is what became of the requests of a run.
type Summary struct {
	// Due is how many there were: Answered, those in Failures, and Unstarted.
	Due      int64 `json:"due"`
	Answered int64 `json:"answered"`
	// Unexpected is how many answers had another status than the one wanted.
	Unexpected int64             `json:"unexpected"`
	Statuses   map[int]int64     `json:"statuses"`
	Failures   map[Failure]int64 `json:"failures"`
	// FirstFailure is the text of one of the first failures.
	FirstFailure string `json:"first_failure,omitempty"`
	// Unstarted requests were overdue when the run had to end.
	Unstarted int64 `json:"unstarted"`
	// Late is how many started later than the constant Late allows, and Queued how
	// many of these because no connection was free. The others were late although
	// one was: this program did not get to run.
	Late   int64 `json:"late_starts"`
	Queued int64 `json:"late_for_want_of_a_connection"`

	Latency    Times `json:"latency"`
	Service    Times `json:"service"`
	StartDelay Times `json:"start_delay"`
}

// Errors is how many requests did not get the answer that was wanted.
func (s Summary) Errors() int64 { return s.Due - s.Answered + s.Unexpected }

// ErrorShare is Errors in relation to Due, and 1 if nothing was due.
func (s Summary) ErrorShare() float64 {
	if s.Due == 0 {
		return 1
	}
	return float64(s.Errors()) / float64(s.Due)
}

// saturation is the share of starts that may be this program's own fault before its
// measurements are called in question.
const saturation = 0.01

// Saturated says that the client, not the target, held up so many requests that the
// latencies are partly its own.
func (s Summary) Saturated() bool {
	return float64(s.Late-s.Queued) > saturation*float64(s.Due)
}

// Times is how long something took, over many requests.
type Times struct{ h *hdr.Histogram }

// Count is how many were recorded.
func (t Times) Count() int64 { return t.h.TotalCount() }

// At is the time that the given percentage of requests did not exceed, rounded up to
// three digits; 0 if there were none.
func (t Times) At(percent float64) time.Duration {
	return min(time.Duration(t.h.ValueAtQuantile(percent)), t.Max())
}

// Max is the longest, rounded up to three digits.
func (t Times) Max() time.Duration { return time.Duration(t.h.Max()) }

// Within says what share of all, from 0 to 1, took at most so long.
type Within struct {
	Within time.Duration
	Share  float64
}

// Distribution gives points of the cumulative distribution, by rising time and share:
// every hundredth, and finer where few are left, to the longest of all.
func (t Times) Distribution() []Within {
	if t.Count() == 0 {
		return nil
	}
	var points []Within
	add := func(percent float64) {
		points = append(points, Within{t.At(percent), percent / 100})
	}
	for percent := range 99 {
		add(float64(percent))
	}
	for tail := 1.0; tail > 0.0001; tail /= 10 {
		for left := 10.0; left > 1; left-- {
			add(100 - tail*left/10)
		}
	}
	add(100)
	return points
}

// Mean is the average.
func (t Times) Mean() time.Duration { return time.Duration(t.h.Mean()) }

// MarshalJSON gives the usual percentiles in milliseconds.
func (t Times) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Count int64   `json:"count"`
		Mean  float64 `json:"mean_ms"`
		P50   float64 `json:"p50_ms"`
		P90   float64 `json:"p90_ms"`
		P99   float64 `json:"p99_ms"`
		P999  float64 `json:"p99_9_ms"`
		Max   float64 `json:"max_ms"`
	}{t.Count(), Milliseconds(t.Mean()), Milliseconds(t.At(50)), Milliseconds(t.At(90)), Milliseconds(t.At(99)), Milliseconds(t.At(99.9)), Milliseconds(t.Max())})
}

// Milliseconds is a duration as a number of milliseconds.
func Milliseconds(d time.Duration) float64 {
	return float64(d.Nanoseconds()) / 1e6
}
