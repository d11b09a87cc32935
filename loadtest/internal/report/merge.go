package report

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Merge makes one result of all that repeat a run: the same scenario with the same
// setting, of one version on one machine, to its end. Their values become samples, in
// the order in which they were measured; each plot stays one of its run. Other results
// stay as they are. A result that is there twice counts once. The arguments are not
// changed.
func Merge(results []Result) []Result {
	var runs [][]Result
	for _, r := range results {
		same := func(have Result) bool { return reflect.DeepEqual(have, r) }
		if slices.ContainsFunc(runs, func(of []Result) bool { return slices.ContainsFunc(of, same) }) {
			continue
		}
		at := slices.IndexFunc(runs, func(of []Result) bool { return of[0].repeats(r) })
		if at < 0 {
			at, runs = len(runs), append(runs, nil)
		}
		runs[at] = append(runs[at], r)
	}
	merged := make([]Result, 0, len(runs))
	for _, of := range runs {
		merged = append(merged, mergeRuns(of))
	}
	return merged
}

func (r Result) repeats(other Result) bool {
	return !r.Interrupted && !other.Interrupted && r.Scenario == other.Scenario && r.Version == other.Version &&
		r.Machine == other.Machine && slices.Equal(r.Setting, other.Setting)
}

func mergeRuns(runs []Result) Result {
	if len(runs) == 1 {
		return runs[0]
	}
	slices.SortStableFunc(runs, func(a, b Result) int { return a.Began.Compare(b.Began) })
	sum := Result{
		Scenario: runs[0].Scenario, Version: runs[0].Version, Began: runs[0].Began,
		Machine: runs[0].Machine, Setting: slices.Clone(runs[0].Setting),
	}
	var began []string
	for n, r := range runs {
		began = append(began, r.Began.Format(time.RFC3339))
		sum.Seconds += r.Seconds
		sum.Verdicts = append(sum.Verdicts, r.Verdicts...)
		for _, remark := range r.Remarks {
			sum.Remark("%s", remark)
		}
		for _, p := range r.Plots {
			p.Name = fmt.Sprintf("%s, run %d of %d", p.Name, n+1, len(runs))
			sum.Plots = append(sum.Plots, p)
		}
		for _, t := range r.Tables {
			sum.table(t.Name, t.Of).append(t)
		}
	}
	sum.Setting = append(sum.Setting, Fact{Name: "runs", Value: fmt.Sprintf("%d, begun %s", len(runs), strings.Join(began, ", "))})
	return sum
}

// table is the table of that name, which is made if it is not there.
func (r *Result) table(name, of string) *Table {
	at := slices.IndexFunc(r.Tables, func(t Table) bool { return t.Name == name })
	if at < 0 {
		at = len(r.Tables)
		r.Tables = append(r.Tables, Table{Name: name, Of: of})
	}
	return &r.Tables[at]
}

// append adds the values of another table after those that t has.
func (t *Table) append(other Table) {
	for _, row := range other.Rows {
		for n, values := range row.Values {
			t.Set(row.Name, other.Columns[n], values...)
		}
	}
}
