package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/revocast/revocast/loadtest/internal/gen"
	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/sessions"
)

// issuing is one run of the command.
type issuing struct {
	*issueCommand
	running
}

// issued is what comes of a run as it goes on.
type issued struct {
	operations, issuers, costs report.Table

	result report.Result
	// all are the requests of all rates.
	all *measure.Recorder
	// p50 and p99 hold a series for each operation, over the rates.
	over map[string]*report.Series
	last map[string]measure.Times
}

const mebi = 1 << 20

// measure opens sessions, sends the load, judges every session, and shows and keeps the
// result.
func (r issuing) measure(ctx context.Context, s site) error {
	crowd := sessions.New(sessions.Config{Issuers: s.issuers, Users: s.users, Contention: r.Contention, Operator: s.issuers[0].Admin != nil})
	out := &issued{
		operations: report.Table{Name: "operations", Of: "operation"},
		issuers:    report.Table{Name: "issuers", Of: "rate"},
		costs:      report.Table{Name: "cost of one request", Of: "request"},
		all:        measure.New(time.Time{}), over: map[string]*report.Series{},
		result: report.Result{Began: time.Now(), Setting: []report.Fact{
			{Name: "target", Value: s.where},
			{Name: "load", Value: fmt.Sprintf("%s for %s each after %s of warm-up, open loop (Poisson, seed %d)", rates(r.Rate), r.Duration, r.WarmUp, r.Seed)},
			{Name: "mix", Value: fmt.Sprintf("%s; requests of a refresh at once: %d", r.Mix, r.Contention)},
			{Name: "with", Value: fmt.Sprintf("%d sessions of %d users, %d operations under way at most, timeout %s", r.opened(), len(s.users), r.Connections, r.Timeout)},
		}},
	}
	r.note("opening %d sessions", r.opened())
	if err := r.step(out, s, "login", func() (done int64, err error) {
		return crowd.Open(ctx, r.opened(), r.steady(s))
	}); err != nil {
		return err
	}
	for _, rate := range r.Rate {
		if ctx.Err() == nil {
			if err := r.at(ctx, rate, crowd, s, out); err != nil {
				return err
			}
		}
	}
	if err := r.judge(ctx, crowd, s, out); err != nil {
		return err
	}
	return r.report(ctx, crowd.Tally(), s, out)
}

// rates lists them.
func rates(all []float64) string {
	var b strings.Builder
	for n, rate := range all {
		if n > 0 {
			b.WriteString(", ")
		}
		_, _ = fmt.Fprintf(&b, "%g/s", rate) // a Builder takes everything
	}
	return b.String()
}

// steady is how many requests are under way where only the number of answers counts: as
// many as keep every issuer busy, and fewer than it would turn away.
func (r issuing) steady(s site) int { return min(r.Connections, 8*len(s.issuers)) }

// at sends the load at one rate.
func (r issuing) at(ctx context.Context, rate float64, crowd *sessions.Crowd, s site, out *issued) error {
	began := time.Now()
	measured := began.Add(r.WarmUp)
	all, each := measure.New(measured), map[sessions.Operation]*measure.Recorder{}
	for _, op := range sessions.Operations() {
		each[op] = measure.New(measured)
	}
	load := sessions.Load{
		Crowd: crowd, Mix: r.Mix, WarmUp: r.WarmUp, Duration: r.Duration,
		Plan: gen.Plan{Rate: rate, Workers: r.Connections, Patience: r.Timeout, Seed: r.Seed},
		Record: func(op sessions.Operation, s measure.Sample) {
			each[op].Record(s)
			all.Record(s)
			out.all.Record(s)
		},
		Abandon: func(op sessions.Operation, due, at time.Time) {
			each[op].Abandon(due, at)
			all.Abandon(due, at)
			out.all.Abandon(due, at)
		},
	}
	self, err := measure.Watch(os.Getpid())
	if err != nil {
		return err
	}
	servers, err := s.watch()
	if err != nil {
		return err
	}
	before := crowd.Tally()
	r.note("%g operations a second for %s", rate, r.WarmUp+r.Duration)
	r.watch(ctx, report.Progress{Began: began, WarmUp: r.WarmUp, Length: r.WarmUp + r.Duration}, all, func() { load.Run(ctx, began) })
	name := fmt.Sprintf("%g/s", rate)
	if err := out.servers(name, servers, crowd.Tally(), before); err != nil {
		return err
	}
	out.issuers.Set(name, report.Column{Name: "client", Unit: "CPUs"}, self.Busy())
	out.last = map[string]measure.Times{}
	for _, op := range sessions.Operations() {
		if r.Mix.Share(op) > 0 {
			out.requests(string(op), rate, each[op].Summary(), max(0, time.Since(measured).Seconds()))
		}
	}
	return nil
}

// servers puts what the issuers took into their table, and what refreshes came to.
func (o *issued) servers(row string, servers []measure.Process, after, before sessions.Tally) error {
	var busy, memory float64
	for _, p := range servers {
		held, err := p.Memory()
		if err != nil {
			return err
		}
		busy, memory = busy+p.Busy(), memory+float64(held)/mebi
	}
	if len(servers) > 0 {
		o.issuers.Set(row, report.Column{Name: "issuers", Unit: "CPUs", Better: report.Lower}, busy)
		o.issuers.Set(row, report.Column{Name: "memory", Unit: "MiB", Better: report.Lower}, memory)
	}
	// The usual ones always have a column.
	names := append(slices.Collect(maps.Keys(after.Outcomes)), "rotated", "concurrent")
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		o.issuers.Set(row, report.Column{Name: name}, float64(after.Outcomes[name]-before.Outcomes[name]))
	}
	o.issuers.Set(row, report.Column{Name: "set aside"}, float64(after.Aside-before.Aside))
	return nil
}

// requests puts what became of one operation's requests into the table and the plots.
func (o *issued) requests(op string, rate float64, s measure.Summary, seconds float64) {
	row := fmt.Sprintf("%s at %g/s", op, rate)
	o.operations.Requests(row, s, seconds)
	o.result.Tell(row, s)
	o.last[op] = s.Latency
	for _, p := range []float64{50, 99} {
		name := fmt.Sprintf("%s p%g", op, p)
		if o.over[name] == nil {
			o.over[name] = &report.Series{Name: name}
		}
		if s.Latency.Count() > 0 {
			o.over[name].X = append(o.over[name].X, rate)
			o.over[name].Y = append(o.over[name].Y, max(measure.Milliseconds(s.Latency.At(p)), 0.001))
		}
	}
}

// step does one that is as fast as it goes, and notes what each of its requests cost.
func (r issuing) step(out *issued, s site, name string, do func() (int64, error)) error {
	servers, err := s.watch()
	if err != nil {
		return err
	}
	began := time.Now()
	done, err := do()
	if err != nil || done == 0 {
		return err
	}
	took := time.Since(began)
	out.costs.Set(name, report.Column{Name: "requests"}, float64(done))
	out.costs.Set(name, report.Column{Name: "answered", Unit: "/s", Better: report.Higher}, float64(done)/took.Seconds())
	if len(servers) == 0 {
		return nil
	}
	var used time.Duration
	for _, p := range servers {
		cpu, err := p.CPU()
		if err != nil {
			return err
		}
		used += cpu
	}
	out.costs.Set(name, report.Column{Name: "issuers", Unit: "CPU ms", Better: report.Lower}, used.Seconds()*1000/float64(done))
	return nil
}

// cleanUp bounds how long sessions are ended after an interruption.
const cleanUp = 30 * time.Second

// judge asks what became of every session. Who is interrupted leaves no session behind on
// somebody's issuers all the same.
func (r issuing) judge(ctx context.Context, crowd *sessions.Crowd, s site, out *issued) error {
	steady := r.steady(s)
	if ctx.Err() != nil {
		if len(r.URL) > 0 {
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
			defer cancel()
			r.note("ending %d sessions", crowd.Living())
			crowd.End(ending, steady)
		}
		return nil
	}
	r.note("judging %d sessions", crowd.Living())
	var faults []error
	for _, one := range []struct {
		name string
		do   func(context.Context, int) int64
	}{
		{"refresh", crowd.Use},
		{"refresh or replay", crowd.Repeat},
		{"revocation", crowd.End},
		{"refused refresh", crowd.Ended},
	} {
		faults = append(faults, r.step(out, s, one.name, func() (int64, error) { return one.do(ctx, steady), nil }))
	}
	return errors.Join(faults...)
}

// report completes the result.
func (r issuing) report(ctx context.Context, t sessions.Tally, s site, out *issued) error {
	result := &out.result
	result.Tables = []report.Table{out.operations, out.issuers, out.costs}
	result.Plots = []report.Plot{report.Distribution(fmt.Sprintf("Latency at %g/s", r.Rate[len(r.Rate)-1]), "latency", out.last)}
	if len(r.Rate) > 1 {
		p := report.Plot{
			Name: "Latency by rate", Shape: report.Line,
			X: report.Axis{Label: "operations of the whole mix", Unit: "/s"}, Y: report.Axis{Label: "latency", Unit: "ms", Log: true},
		}
		for _, name := range slices.Sorted(maps.Keys(out.over)) {
			p.Series = append(p.Series, *out.over[name])
		}
		result.Plots = append(result.Plots, p)
	}
	verdict := func(what string, count int64) {
		result.Verdicts = append(result.Verdicts, measure.Verdict{Objective: what + "=0", Value: strconv.FormatInt(count, 10), Kept: count == 0})
	}
	verdict("forked sessions", t.Forked)
	verdict("sessions logged out by nobody", t.LoggedOut)
	if ctx.Err() == nil {
		verdict("revoked sessions that refresh", t.Resurrected)
		verdict("sessions not judged", t.Unchecked)
	} else {
		result.Remark("The sessions were not judged.")
	}
	result.Remark("%d sessions were opened and %d revoked. concurrent: a refresh that came within the grace window of another with the same token, and got the same answer.", t.Opened, t.Revoked)
	if s.hashing > 0 {
		result.Remark("Most of a login is its password's hash (argon2id, 19 MiB, 2 passes): alone, it took %.1f ms of one CPU here.", measure.Milliseconds(s.hashing))
	}
	if t.Aside > 0 {
		result.Remark("%d sessions were set aside: an answer about them is missing, so that nobody knows their last token.", t.Aside)
	}
	if t.Wanting > 0 {
		result.Remark("%d operations were due when no session was free; --sessions opens more.", t.Wanting)
	}
	return r.finish(ctx, *result, out.all.Summary(), r.SLO)
}
