package diff_test

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/report/diff"
)

var noon = time.Date(2026, time.November, 1, 12, 0, 0, 0, time.UTC)

var (
	p99      = report.Column{Name: "p99", Unit: "ms", Better: report.Lower}
	answered = report.Column{Name: "answered", Unit: "/s", Better: report.Higher}
	late     = report.Column{Name: "late", Unit: "%"}
)

func result(scenario string, set func(*report.Table)) report.Result {
	r := report.Result{Scenario: scenario, Version: "v1", Began: noon, Setting: []report.Fact{{Name: "load", Value: "100/s"}}}
	r.Tables = []report.Table{{Name: "requests", Of: "front"}}
	set(&r.Tables[0])
	return r
}

// of compares one figure.
func of(t *testing.T, c report.Column, a, b []float64) diff.Cell {
	t.Helper()
	set := func(values []float64) []report.Result {
		return []report.Result{result("verify", func(t *report.Table) { t.Set("proxy", c, values...) })}
	}
	d := diff.Of(set(a), set(b))
	if len(d.Pairs) != 1 || len(d.Pairs[0].Cells) != 1 {
		t.Fatalf("%+v", d)
	}
	return d.Pairs[0].Cells[0]
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name    string
		column  report.Column
		a, b    []float64
		want    diff.Verdict
		percent string
		overlap bool
		tested  bool
	}{
		{"lower is better", p99, []float64{10}, []float64{5}, diff.Better, "-50.0%", false, false},
		{"lower was better", p99, []float64{10}, []float64{15}, diff.Worse, "+50.0%", false, false},
		{"higher is better", answered, []float64{10}, []float64{15}, diff.Better, "+50.0%", false, false},
		{"higher was better", answered, []float64{10}, []float64{5}, diff.Worse, "-50.0%", false, false},
		{"it only describes", late, []float64{10}, []float64{5}, diff.Changed, "-50.0%", false, false},
		{"equal", p99, []float64{10}, []float64{10}, diff.Same, "0%", true, false},
		{"both nothing", p99, []float64{0}, []float64{0}, diff.Same, "0%", true, false},
		{"from nothing", p99, []float64{0}, []float64{1}, diff.Worse, "from 0", false, false},
		{"below nothing", p99, []float64{-10}, []float64{-5}, diff.Worse, "+50.0%", false, false},
		{"they overlap", p99, []float64{10, 20, 12}, []float64{11, 19, 30}, diff.Unclear, "+58.3%", true, false},
		{"four that lie apart", p99, []float64{1, 2, 3, 4}, []float64{8, 5, 6, 7}, diff.Worse, "+160.0%", false, true},
		{"four that overlap", p99, []float64{1, 2, 3, 6}, []float64{8, 5, 6, 7}, diff.Unclear, "+160.0%", true, true},
		{"three against four", p99, []float64{1, 2, 3}, []float64{2.5, 5, 6, 7}, diff.Unclear, "+175.0%", true, false},
		{"many that overlap a little", p99, []float64{1, 2, 3, 4, 5, 6, 9}, []float64{8, 10, 11, 12, 13, 14, 15}, diff.Worse, "+200.0%", true, true},
	} {
		got := of(t, c.column, c.a, c.b)
		if got.Verdict != c.want || got.Percent() != c.percent || got.Overlap != c.overlap || (got.P != nil) != c.tested {
			t.Errorf("%s: %+v %s, want %+v", c.name, got, got.Percent(), c)
		}
	}
	// Tables of the test's smallest p: 2/C(8,4).
	if p := *of(t, p99, []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}).P; math.Abs(p-2.0/70) > 1e-9 {
		t.Errorf("p is %v", p)
	}
}

// Whichever comes first, one is as much better as the other is worse.
func TestMirrored(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(0, 100), rapid.Map(rapid.IntRange(0, 5), func(n int) float64 { return float64(n) })), 1, 9)
		a, b := values.Draw(rt, "a"), values.Draw(rt, "b")
		before := slices.Clone(a)
		there, back := of(t, p99, a, b), of(t, p99, b, a)
		if !slices.Equal(a, before) {
			rt.Fatal("the samples were changed")
		}
		mirror := map[diff.Verdict]diff.Verdict{diff.Better: diff.Worse, diff.Worse: diff.Better, diff.Same: diff.Same, diff.Unclear: diff.Unclear}
		if back.Verdict != mirror[there.Verdict] || back.Overlap != there.Overlap || (there.P != nil && (*there.P != *back.P || *there.P > 1)) {
			rt.Fatalf("%+v\n%+v", there, back)
		}
		if there.Verdict == diff.Better && there.Overlap && there.P == nil {
			rt.Fatalf("better, but nothing says so: %+v", there)
		}
	})
}

// Everything that one side alone has is listed, and what differs in how it was measured.
func TestOf(t *testing.T) {
	a := []report.Result{
		result("verify", func(t *report.Table) {
			t.Set("proxy", p99, 1, 2)
			t.Set("redis", p99, 5)
			t.Set("proxy", late, 3)
		}),
		result("churn", func(*report.Table) {}),
	}
	b := []report.Result{
		result("soak", func(*report.Table) {}),
		result("verify", func(t *report.Table) {
			t.Set("opa", p99, 9)
			t.Set("proxy", p99, 3)
			t.Set("proxy", report.Column{Name: "late", Unit: "ms"}, 3)
		}),
	}
	b[1].Version, b[1].Interrupted, b[1].Machine.CPUs = "v2", true, 4
	b[1].Setting = []report.Fact{{Name: "load", Value: "200/s"}, {Name: "runs", Value: "2"}}
	d := diff.Of(a, b)
	if want := []string{"churn of 2026-11-01T12:00:00Z, v1, load 100/s"}; !reflect.DeepEqual(d.OnlyA, want) {
		t.Errorf("only in A: %q", d.OnlyA)
	}
	if want := []string{"soak of 2026-11-01T12:00:00Z, v1, load 100/s"}; !reflect.DeepEqual(d.OnlyB, want) {
		t.Errorf("only in B: %q", d.OnlyB)
	}
	if len(d.Pairs) != 1 {
		t.Fatalf("%+v", d.Pairs)
	}
	p := d.Pairs[0]
	if want := []string{"requests, proxy, late %", "requests, redis, p99 ms"}; !reflect.DeepEqual(p.OnlyA, want) {
		t.Errorf("only in A: %q", p.OnlyA)
	}
	if want := []string{"requests, opa, p99 ms", "requests, proxy, late ms"}; !reflect.DeepEqual(p.OnlyB, want) {
		t.Errorf("only in B: %q", p.OnlyB)
	}
	text := d.Text()
	for _, part := range []string{
		"verify: A is v1 of 2026-11-01T12:00:00Z, B is v2 of", "The machines differ: ", "The settings differ: load: 100/s in A, 200/s in B.", "B was interrupted",
		"only in A: requests, redis, p99 ms", "only in B: soak", "front  figure  A", "1.50 (1–2)", "+100.0%", "worse", "2+1",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if strings.Contains(text, "runs: ") || strings.Contains(text, "one sample each") {
		t.Error(text)
	}
	one := []report.Result{result("verify", func(t *report.Table) { t.Set("proxy", p99, 1) })}
	if text := diff.Of(one, one).Text(); !strings.Contains(text, "one sample each") {
		t.Errorf("nothing warns of single samples:\n%s", text)
	}
	whole, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var back diff.Diff
	if err := json.Unmarshal(whole, &back); err != nil || !reflect.DeepEqual(back, d) {
		t.Errorf("%v\n%+v\n%+v", err, back, d)
	}
}

// Results of one scenario are compared by their settings, wherever they stand.
func TestCounterparts(t *testing.T) {
	at := func(load string, cpus int, value float64) report.Result {
		r := result("verify", func(t *report.Table) { t.Set("proxy", p99, value) })
		r.Setting[0].Value, r.Machine.CPUs = load, cpus
		return r
	}
	d := diff.Of([]report.Result{at("100/s", 2, 1), at("100/s", 4, 2), at("200/s", 2, 3), at("300/s", 2, 4)},
		[]report.Result{at("200/s", 2, 3), at("100/s", 4, 2), at("100/s", 8, 1), at("400/s", 2, 5)})
	if len(d.Pairs) != 3 || len(d.OnlyA) != 1 || len(d.OnlyB) != 1 {
		t.Fatalf("%+v", d)
	}
	for _, p := range d.Pairs {
		if p.Cells[0].Verdict != diff.Same {
			t.Errorf("%+v is compared with the wrong one", p)
		}
	}
	if d := diff.Of(nil, nil); len(d.Pairs)+len(d.OnlyA)+len(d.OnlyB) != 0 || d.Text() != "" {
		t.Errorf("%+v", d)
	}
}

func TestWorse(t *testing.T) {
	a := result("verify", func(t *report.Table) {
		t.Set("a little", p99, 100)
		t.Set("much", p99, 100)
		t.Set("overlapping", p99, 90, 100, 300)
		t.Set("from nothing", p99, 0)
		t.Set("better", p99, 100)
		t.Set("less", answered, 100)
	})
	b := result("verify", func(t *report.Table) {
		t.Set("a little", p99, 110)
		t.Set("much", p99, 111)
		t.Set("overlapping", p99, 200, 250, 310)
		t.Set("from nothing", p99, 0.1)
		t.Set("better", p99, 10)
		t.Set("less", answered, 80)
	})
	d := diff.Of([]report.Result{a}, []report.Result{b})
	rows := func(percent float64) string {
		var names []string
		for _, c := range d.Pairs[0].Worse(percent) {
			names = append(names, c.Row)
		}
		return strings.Join(names, ", ")
	}
	for percent, want := range map[float64]string{0: "a little, much, from nothing, less", 10: "much, from nothing, less", 50: "from nothing"} {
		if got := rows(percent); got != want {
			t.Errorf("worse by more than %v%%: %s, want %s", percent, got, want)
		}
	}
}
