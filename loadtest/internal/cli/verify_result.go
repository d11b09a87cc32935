package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/scenario"
)

// verified is what came of the cases so far.
type verified struct {
	began       time.Time
	where, what string
	cases       []kept
	revocations report.Table
}

// kept is what came of one case.
type kept struct {
	asked   asked
	row     string
	rate    rate
	summary measure.Summary
	tally   scenario.Tally
	meters  meters
	seconds float64 // measured
}

// begin notes what the run is about.
func (r *verifying) begin(where string, given scenario.Tokens) {
	r.began, r.where = time.Now(), where
	s := r.shares()
	good := len(given[scenario.Good])
	if r.Local {
		good = r.Tokens
	}
	r.what = fmt.Sprintf("%d good tokens (popularity 1/k^%g), seed %d; of the requests %g%% with cold, %g%% with revoked tokens, %g%% with garbage",
		good, r.Zipf, r.Seed, 100*s.Cold, 100*s.Revoked, 100*s.Garbage)
	if r.Local {
		r.what += "; signed with " + r.Alg
	}
	if r.RevokeRate > 0 {
		r.what += fmt.Sprintf("; %g good ones revoked a second", r.RevokeRate)
	}
}

func (r *verifying) keep(k kept) { r.cases = append(r.cases, k) }

func (r *verifying) keepRevocations(row string, s measure.Summary, took time.Duration) {
	r.revocations.Name, r.revocations.Of = "receipts of revocations", "during"
	r.revocations.Requests(row, s, took.Seconds())
}

// end makes the result of all cases, and finishes the run.
func (r *verifying) end(ctx context.Context) error {
	result := report.Result{Began: r.began, Setting: []report.Fact{
		{Name: "target", Value: r.where},
		{Name: "tokens", Value: r.what},
		{Name: "load", Value: fmt.Sprintf("%s for %s each after %s of warm-up, open loop (Poisson)", join(r.Rate), r.Duration, r.WarmUp)},
		{Name: "with", Value: fmt.Sprintf("%d connections, timeout %s", r.Connections, r.Timeout)},
	}}
	if slices.Contains(r.Rate, atMost) {
		result.Setting[2].Value += "; max: closed loop"
	}
	if len(r.ClientCPUs) > 0 {
		result.Setting = append(result.Setting, report.Fact{Name: "pinned", Value: "the sender to processors " + r.ClientCPUs.String() + ", servers to the others"})
	}
	requests := report.Table{Name: "requests", Of: "front"}
	cost := report.Table{Name: "cost", Of: "front"}
	verdicts := report.Table{Name: "verdicts", Of: "front"}
	latencies := map[string]measure.Times{}
	var cases []judged
	for _, k := range r.cases {
		requests.Requests(k.row, k.summary, k.seconds)
		k.cost(&cost)
		result.Tell(k.row, k.summary)
		if k.asked.reference {
			continue
		}
		k.verdicts(&verdicts)
		latencies[k.row] = k.summary.Latency
		cases = append(cases, judged{row: k.row, summary: k.summary, loop: k.rate == atMost})
		result.Verdicts = append(result.Verdicts, measure.Verdict{
			Objective: "let through=0 for " + k.row, Value: fmt.Sprint(k.tally.LetThrough), Kept: k.tally.LetThrough == 0,
		})
		if k.tally.Exhausted {
			result.Remark("%s: it ended early, for there was no cold token left.", k.row)
		}
	}
	r.explain(&result)
	result.Tables = []report.Table{requests, cost, verdicts}
	if len(r.revocations.Rows) > 0 {
		result.Tables = append(result.Tables, r.revocations)
	}
	result.Plots = []report.Plot{report.Distribution("Latency", "latency", latencies)}
	if p := r.throughput(); len(p.Series) > 0 {
		result.Plots = append(result.Plots, p)
	}
	return r.finishAll(ctx, result, r.SLO, cases)
}

func join(rates []rate) string {
	texts := make([]string, len(rates))
	for n, one := range rates {
		texts[n] = one.String()
	}
	return strings.Join(texts, ", ")
}

// cost puts what a case took of the machine into its row.
func (k kept) cost(t *report.Table) {
	each := func(cpu time.Duration) []float64 {
		if k.summary.Answered == 0 {
			return nil
		}
		return []float64{cpu.Seconds() * 1e6 / float64(k.summary.Answered)}
	}
	served, sent, busy, memory := []float64(nil), []float64(nil), []float64(nil), []float64(nil)
	if k.meters.served {
		served, memory = each(k.meters.serverCPU), []float64{float64(k.meters.memory) / (1 << 20)}
	}
	if k.meters.running {
		sent, busy = each(k.meters.clientCPU), []float64{k.meters.busy}
	}
	t.Set(k.row, report.Column{Name: "server", Unit: "CPU µs/request", Better: report.Lower}, served...)
	t.Set(k.row, report.Column{Name: "server memory", Unit: "MiB", Better: report.Lower}, memory...)
	t.Set(k.row, report.Column{Name: "sender", Unit: "CPU µs/request"}, sent...)
	t.Set(k.row, report.Column{Name: "sender busy", Unit: "CPUs"}, busy...)
}

// verdicts puts what the answers were worth into the case's row.
func (k kept) verdicts(t *report.Table) {
	for class := scenario.Good; class <= scenario.Garbage; class++ {
		t.Set(k.row, report.Column{Name: class.String()}, float64(k.tally.Asked[class]))
	}
	t.Set(k.row, report.Column{Name: "let through", Better: report.Lower}, float64(k.tally.LetThrough))
	t.Set(k.row, report.Column{Name: "turned away", Better: report.Lower}, float64(k.tally.TurnedAway))
	t.Set(k.row, report.Column{Name: "passed after receipt", Better: report.Lower}, float64(k.tally.Exposed))
	t.Set(k.row, report.Column{Name: "worst exposure", Unit: "ms", Better: report.Lower}, measure.Milliseconds(k.tally.Worst))
}

// explain says what a reader must know of the tables.
func (r *verifying) explain(result *report.Result) {
	result.Remark("verdicts counts answers by what was known of their tokens, the warm-up included: let through passed and must not have, turned away the other way round.")
	if r.RevokeRate > 0 {
		result.Remark("passed after receipt: tokens that passed although the request was sent after the receipt of their revocation; worst exposure is how long after it. More than %s is let through.", r.MaxExposure)
	}
	for _, k := range r.cases {
		switch {
		case k.asked.name == "sender alone":
			result.Remark("library: the verifier is part of the sender's process, so its cost is in the sender's column; sender alone asks nothing, and is what remains.")
		case k.asked.reference:
			result.Remark("proxy: the application behind it is part of the sender's process; application alone is asked without the proxy.")
		}
	}
}

// throughput is the plot of how long it takes by how much is answered, for fronts that
// were asked at several rates.
func (r *verifying) throughput() report.Plot {
	p := report.Plot{
		Name: "Latency by throughput", Shape: report.Line,
		X: report.Axis{Label: "answered", Unit: "/s"}, Y: report.Axis{Label: "p99 latency", Unit: "ms", Log: true},
	}
	points := map[string][][2]float64{}
	var names []string
	for _, k := range r.cases {
		if k.asked.reference || k.seconds == 0 || k.summary.Answered == 0 {
			continue
		}
		name := k.asked.name
		if _, seen := points[name]; !seen {
			names = append(names, name)
		}
		points[name] = append(points[name], [2]float64{float64(k.summary.Answered) / k.seconds, max(measure.Milliseconds(k.summary.Latency.At(99)), 1e-6)})
	}
	for _, name := range names {
		if len(points[name]) < 2 {
			continue
		}
		slices.SortFunc(points[name], func(a, b [2]float64) int { return cmp.Compare(a[0], b[0]) })
		s := report.Series{Name: name}
		for _, at := range points[name] {
			s.X, s.Y = append(s.X, at[0]), append(s.Y, at[1])
		}
		p.Series = append(p.Series, s)
	}
	return p
}
