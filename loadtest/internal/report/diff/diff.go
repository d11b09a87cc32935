package diff

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"

	"github.com/revocast/revocast/loadtest/internal/report"
)

// Diff is what differs between the results A and the results B.
type Diff struct {
	Pairs []Pair `json:"pairs"`
	// OnlyA and OnlyB name the results that have no counterpart.
	OnlyA []string `json:"only_in_a"`
	OnlyB []string `json:"only_in_b"`
}

// Pair is two results of one scenario.
type Pair struct {
	Scenario string `json:"scenario"`
	A        Side   `json:"a"`
	B        Side   `json:"b"`
	// Remarks are what a reader must know to judge the differences.
	Remarks []string `json:"remarks"`
	Cells   []Cell   `json:"cells"`
	// OnlyA and OnlyB name the cells that the other has not.
	OnlyA []string `json:"only_in_a"`
	OnlyB []string `json:"only_in_b"`
}

// Side says which result is compared.
type Side struct {
	Version string `json:"version"`
	Began   string `json:"began"`
}

// Cell is one figure of both.
type Cell struct { //nolint:recvcheck // a value that only compare changes
	Table  string        `json:"table"`
	Of     string        `json:"of"`
	Row    string        `json:"row"`
	Column string        `json:"column"`
	Unit   string        `json:"unit,omitempty"`
	Better report.Better `json:"better,omitempty"`
	// A and B are the samples, at least one each, and MedianA and MedianB their medians.
	A       []float64 `json:"a"`
	B       []float64 `json:"b"`
	MedianA float64   `json:"median_a"`
	MedianB float64   `json:"median_b"`
	// Change is by how much B's median differs from A's, in percent of A's; none if that
	// is zero.
	Change *float64 `json:"change_percent"`
	// Overlap says that the samples of one reach into those of the other.
	Overlap bool `json:"overlap"`
	// P is how likely samples are to differ like this, or more, by chance, by the test of
	// Mann and Whitney; none of fewer than four samples each.
	P       *float64 `json:"p,omitempty"`
	Verdict Verdict  `json:"verdict"`
}

// Verdict is a difference in a word.
type Verdict string

// Verdicts. Unclear is a difference that may be chance, Changed one of a figure that
// only describes.
const (
	Same    Verdict = "same"
	Unclear Verdict = "unclear"
	Better  Verdict = "better"
	Worse   Verdict = "worse"
	Changed Verdict = "changed"
)

// Of compares the results a with the results b. Those of one scenario are compared if
// their settings are the same, or if there is no other choice.
func Of(a, b []report.Result) Diff {
	d := Diff{Pairs: []Pair{}, OnlyA: []string{}, OnlyB: []string{}}
	taken := make([]bool, len(b))
	counterpart := make([]int, len(a))
	pair := func(fits func(a, b report.Result) bool) {
		for n, r := range a {
			if counterpart[n] > 0 {
				continue
			}
			for m, other := range b {
				if !taken[m] && r.Scenario == other.Scenario && fits(r, other) {
					taken[m], counterpart[n] = true, m+1
					break
				}
			}
		}
	}
	alone := func(results []report.Result, scenario string) bool {
		n := 0
		for _, r := range results {
			if r.Scenario == scenario {
				n++
			}
		}
		return n == 1
	}
	pair(func(a, b report.Result) bool { return len(settings(a, b)) == 0 && a.Machine == b.Machine })
	pair(func(a, b report.Result) bool { return len(settings(a, b)) == 0 })
	pair(func(r, other report.Result) bool { return alone(a, r.Scenario) && alone(b, other.Scenario) })
	for n, r := range a {
		if counterpart[n] == 0 {
			d.OnlyA = append(d.OnlyA, name(r))
			continue
		}
		d.Pairs = append(d.Pairs, pairOf(r, b[counterpart[n]-1]))
	}
	for m, r := range b {
		if !taken[m] {
			d.OnlyB = append(d.OnlyB, name(r))
		}
	}
	return d
}

// name tells a result from others of its scenario.
func name(r report.Result) string {
	parts := []string{fmt.Sprintf("%s of %s", r.Scenario, side(r).Began), r.Version}
	for _, f := range r.Setting {
		parts = append(parts, f.Name+" "+f.Value)
	}
	return strings.Join(parts, ", ")
}

func side(r report.Result) Side {
	return Side{Version: r.Version, Began: r.Began.UTC().Format("2006-01-02T15:04:05Z")}
}

// runs is the fact that counts the runs of a merged result: no part of its setting.
const runs = "runs"

// settings says in what the settings differ.
func settings(a, b report.Result) []string {
	var differ []string
	value := func(r report.Result, name string) string {
		at := slices.IndexFunc(r.Setting, func(f report.Fact) bool { return f.Name == name })
		if at < 0 {
			return "nothing"
		}
		return r.Setting[at].Value
	}
	var seen []string
	for _, f := range slices.Concat(a.Setting, b.Setting) {
		if f.Name == runs || slices.Contains(seen, f.Name) {
			continue
		}
		seen = append(seen, f.Name)
		if inA, inB := value(a, f.Name), value(b, f.Name); inA != inB {
			differ = append(differ, fmt.Sprintf("%s: %s in A, %s in B", f.Name, inA, inB))
		}
	}
	return differ
}

func pairOf(a, b report.Result) Pair {
	p := Pair{Scenario: a.Scenario, A: side(a), B: side(b), Remarks: []string{}, Cells: []Cell{}, OnlyA: []string{}, OnlyB: []string{}}
	remark := func(format string, args ...any) { p.Remarks = append(p.Remarks, fmt.Sprintf(format, args...)) }
	if a.Machine != b.Machine {
		remark("The machines differ: A ran on %s; B on %s.", a.Machine, b.Machine)
	}
	for _, s := range settings(a, b) {
		remark("The settings differ: %s.", s)
	}
	for n, r := range []report.Result{a, b} {
		if r.Interrupted {
			remark("%c was interrupted: it is what was measured until then.", "AB"[n])
		}
	}
	inA, inB := cellsOf(a), cellsOf(b)
	single := false
	for _, c := range inA {
		at := slices.IndexFunc(inB, c.counterpart)
		if at < 0 {
			p.OnlyA = append(p.OnlyA, c.String())
			continue
		}
		c.Better, c.B = inB[at].Better, inB[at].A
		c.compare()
		single = single || len(c.A) == 1 && len(c.B) == 1
		p.Cells = append(p.Cells, c)
	}
	for _, c := range inB {
		if !slices.ContainsFunc(inA, c.counterpart) {
			p.OnlyB = append(p.OnlyB, c.String())
		}
	}
	if single {
		remark("Where there is one sample each, nothing shows how much it varies by itself: repeat the runs into directories below A and below B, and compare those.")
	}
	return p
}

// cellsOf gives the cells of a result that hold anything, as those of A.
func cellsOf(r report.Result) []Cell {
	var cells []Cell
	for _, t := range r.Tables {
		for _, row := range t.Rows {
			for n, values := range row.Values {
				if len(values) > 0 {
					c := t.Columns[n]
					cells = append(cells, Cell{Table: t.Name, Of: t.Of, Row: row.Name, Column: c.Name, Unit: c.Unit, Better: c.Better, A: values})
				}
			}
		}
	}
	return cells
}

func (c Cell) counterpart(other Cell) bool {
	return c.Table == other.Table && c.Row == other.Row && c.Column == other.Column && c.Unit == other.Unit
}

// String names the cell.
func (c Cell) String() string {
	return fmt.Sprintf("%s, %s, %s", c.Table, c.Row, report.Column{Name: c.Column, Unit: c.Unit})
}

// enough is how many samples each the test needs to tell anything.
const enough = 4

// compare judges B against A.
func (c *Cell) compare() {
	c.MedianA, c.MedianB = report.Median(c.A), report.Median(c.B)
	if c.MedianA != 0 {
		change := 100 * (c.MedianB - c.MedianA) / math.Abs(c.MedianA)
		c.Change = &change
	}
	c.Overlap = max(slices.Min(c.A), slices.Min(c.B)) <= min(slices.Max(c.A), slices.Max(c.B))
	shown := !c.Overlap
	if len(c.A) >= enough && len(c.B) >= enough {
		p := chance(c.A, c.B)
		c.P = &p
		shown = shown || p < benchmath.DefaultThresholds.CompareAlpha
	}
	switch {
	case c.MedianA == c.MedianB:
		c.Verdict = Same
	case !shown:
		c.Verdict = Unclear
	case c.Better == "":
		c.Verdict = Changed
	case (c.Better == report.Lower) == (c.MedianB < c.MedianA):
		c.Verdict = Better
	default:
		c.Verdict = Worse
	}
}

// chance is the P of a [Cell]. With ties among the samples benchmath's exact test depends
// on their order, and goes beyond 1: the greater of the two orders counts.
func chance(a, b []float64) float64 {
	thresholds := benchmath.DefaultThresholds
	of := func(values []float64) *benchmath.Sample { // which sorts them
		return benchmath.NewSample(slices.Clone(values), &thresholds)
	}
	one := benchmath.AssumeNothing.Compare(of(a), of(b)).P
	other := benchmath.AssumeNothing.Compare(of(b), of(a)).P
	return min(1, max(one, other))
}

// Worse are the cells that got worse by more than so many percent, and whose samples do
// not overlap.
func (p Pair) Worse(percent float64) []Cell {
	var cells []Cell
	for _, c := range p.Cells {
		if c.Verdict == Worse && !c.Overlap && (c.Change == nil || math.Abs(*c.Change) > percent) {
			cells = append(cells, c)
		}
	}
	return cells
}
