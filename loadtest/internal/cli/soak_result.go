package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/scenario"
	"github.com/revocast/revocast/loadtest/internal/soak"
)

// finishSoak makes the result and finishes the run.
func (r soaking) finishSoak(ctx context.Context, began time.Time, load *soak.Load, watched []*soak.Watched, latency *soak.Series) error {
	took := time.Since(began)
	result := report.Result{Began: began, Setting: []report.Fact{
		{Name: "target", Value: fmt.Sprintf("a local system with %d sidecars, on this machine", r.Sidecars)},
		{Name: "load", Value: fmt.Sprintf("%g verifications, %g refreshes, %g logins and revocations a second for %s, open loop (Poisson, seed %d)", r.Rate, r.Refreshes, r.Turnover, r.Duration, r.Seed)},
		{Name: "with", Value: fmt.Sprintf("%d sessions, %d connections to each sidecar, timeout %s", r.Sessions, r.Connections, r.Timeout)},
	}}
	requests := report.Table{Name: "requests", Of: "what"}
	for _, what := range []string{soak.Verify, soak.Refresh, soak.LogIn, soak.Revoke} {
		s := load.Recorder(what).Summary()
		requests.Requests(what, s, took.Seconds())
		result.Tell(what, s)
		if what != soak.Verify {
			v := measure.NoErrors().Judge(s)
			if s.Due > 0 {
				v.Objective += " for " + what
				result.Verdicts = append(result.Verdicts, v)
			}
		}
	}
	tally := load.Tally()
	for _, wrong := range []struct {
		what string
		n    int64
	}{{"let through", tally.LetThrough}, {"turned away", tally.TurnedAway}} {
		result.Verdicts = append(result.Verdicts, measure.Verdict{Objective: wrong.what + "=0", Value: fmt.Sprint(wrong.n), Kept: wrong.n == 0})
	}
	result.Tables = []report.Table{requests, wrong(tally)}
	for _, q := range soak.Quantities() {
		r.grow(&result, q, watched)
	}
	p := report.Plot{
		Name: "Latency", Shape: report.Line, X: report.Axis{Label: "since the beginning", Unit: "min"},
		Y: report.Axis{Label: "p99 latency of verifications", Unit: "ms"},
	}
	if len(latency.Values) > 0 {
		p.Series = []report.Series{line("verify", latency)}
		result.Plots = append(result.Plots, p)
	}
	result.Remark("Growth is by the line through the later half of what was seen, from halfway to the end.")
	return r.finish(ctx, result, load.Recorder(soak.Verify).Summary(), r.SLO)
}

// wrong is the table of what answers were worth.
func wrong(t scenario.Tally) report.Table {
	table := report.Table{Name: "verdicts", Of: "what"}
	for _, class := range []scenario.Class{scenario.Good, scenario.Revoked, scenario.Garbage} {
		table.Set(soak.Verify, report.Column{Name: class.String()}, float64(t.Asked[class]))
	}
	table.Set(soak.Verify, report.Column{Name: "let through", Better: report.Lower}, float64(t.LetThrough))
	table.Set(soak.Verify, report.Column{Name: "turned away", Better: report.Lower}, float64(t.TurnedAway))
	table.Set(soak.Verify, report.Column{Name: "passed after receipt", Better: report.Lower}, float64(t.Exposed))
	table.Set(soak.Verify, report.Column{Name: "worst exposure", Unit: "ms", Better: report.Lower}, measure.Milliseconds(t.Worst))
	return table
}

// grow says how a quantity of every server developed, and judges what must not grow.
func (r soaking) grow(result *report.Result, q soak.Quantity, watched []*soak.Watched) {
	table := report.Table{Name: q.Name, Of: "server"}
	plot := report.Plot{
		Name: q.Name, Shape: report.Line, X: report.Axis{Label: "since the beginning", Unit: "min"}, Y: report.Axis{Label: q.Name, Unit: q.Unit},
	}
	for _, w := range watched {
		s := w.Series[q.Name]
		if s == nil {
			continue
		}
		plot.Series = append(plot.Series, line(w.Name, s))
		if len(s.Values) < 4 {
			continue
		}
		t := s.Fit()
		table.Set(w.Name, report.Column{Name: "first", Unit: q.Unit}, s.Values[0])
		table.Set(w.Name, report.Column{Name: "halfway", Unit: q.Unit}, t.From)
		table.Set(w.Name, report.Column{Name: "end", Unit: q.Unit, Better: report.Lower}, t.To)
		table.Set(w.Name, report.Column{Name: "growth", Unit: "%", Better: report.Lower}, 100*t.Growth())
		table.Set(w.Name, report.Column{Name: "growth an hour", Unit: q.Unit}, t.PerHour())
		if q.Judged {
			result.Verdicts = append(result.Verdicts, measure.Verdict{
				Objective: fmt.Sprintf("growth<=%g%% of %s of %s", 100*float64(r.MaxGrowth), q.Name, w.Name),
				Value:     fmt.Sprintf("%.1f%% in %s", 100*t.Growth(), t.Over.Round(time.Second)),
				Kept:      !t.Exceeds(float64(r.MaxGrowth), q.Coincidence),
			})
		}
	}
	if len(table.Rows) > 0 {
		result.Tables = append(result.Tables, table)
	}
	if len(plot.Series) > 0 {
		result.Plots = append(result.Plots, plot)
	}
}

// line is a series over minutes.
func line(name string, s *soak.Series) report.Series {
	l := report.Series{Name: name, Y: s.Values}
	for _, at := range s.At {
		l.X = append(l.X, at.Minutes())
	}
	return l
}
