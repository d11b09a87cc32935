package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
)

// Result is a run of one scenario, with all that is needed to judge and to repeat it.
// Every scenario reports in this form, so that tables, files, plots and comparisons
// are made in one place.
type Result struct { //nolint:recvcheck // a value that only Remark and Tell change
	// Scenario is its name, as on the command line.
	Scenario string    `json:"scenario"`
	Version  string    `json:"version"`
	Began    time.Time `json:"began"`
	// Seconds is how long the run took, all that was started and filled included.
	Seconds float64 `json:"took_s"`
	// Interrupted says that the run ended before its time.
	Interrupted bool    `json:"interrupted"`
	Machine     Machine `json:"machine"`
	// Setting is what was asked for, in the order that it is best read in.
	Setting []Fact  `json:"setting"`
	Tables  []Table `json:"tables"`
	Plots   []Plot  `json:"plots"`
	// Remarks are what a reader must know to judge the figures.
	Remarks  []string          `json:"remarks"`
	Verdicts []measure.Verdict `json:"objectives"`
}

// Fact is one thing that was chosen or found.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Table holds figures. Results are compared by the names of table, row and column.
type Table struct { //nolint:recvcheck // a value that only Set and Requests change
	Name string `json:"name"`
	// Of is what a row stands for, such as "front".
	Of      string   `json:"of"`
	Columns []Column `json:"columns"`
	Rows    []Row    `json:"rows"`
}

// Column is one figure that every row has.
type Column struct {
	Name string `json:"name"`
	// Unit is what it counts in, such as "ms" or "MiB"; empty for a plain number.
	Unit   string `json:"unit,omitempty"`
	Better Better `json:"better,omitempty"`
}

// Better is which way a figure improves.
type Better string

// Ways to improve; a figure without one only describes.
const (
	Lower  Better = "lower"
	Higher Better = "higher"
)

// Row is a case.
type Row struct {
	Name string `json:"name"`
	// Values has an element for each column: what was measured, one value a repetition;
	// none where there was nothing to measure.
	Values [][]float64 `json:"values"`
}

// Plot is a diagram of one or more series over the same axes.
type Plot struct {
	Name   string   `json:"name"`
	X      Axis     `json:"x"`
	Y      Axis     `json:"y"`
	Shape  Shape    `json:"shape"`
	Series []Series `json:"series"`
}

// Axis is what a plot is drawn over.
type Axis struct {
	Label string `json:"label"`
	Unit  string `json:"unit,omitempty"`
	// Log asks for a logarithmic scale; all values are more than zero then.
	Log bool `json:"log,omitempty"`
}

// String is the axis's label with its unit.
func (a Axis) String() string {
	if a.Unit == "" {
		return a.Label
	}
	return a.Label + " (" + a.Unit + ")"
}

// Shape is how the points of a series are joined.
type Shape string

// Shapes: straight lines between points; a value that holds until the next; bars, each
// from its X to the next one's.
const (
	Line Shape = "line"
	Step Shape = "step"
	Bars Shape = "bars"
)

// Series is one line of a plot. X rises and is as long as Y.
type Series struct {
	Name string    `json:"name"`
	X    []float64 `json:"x"`
	Y    []float64 `json:"y"`
}

// Set gives the row of that name its value of a column, after those it has already. Row
// and column are made where they are missing: the order of the calls is the order of
// the table.
func (t *Table) Set(row string, c Column, values ...float64) {
	at := slices.IndexFunc(t.Columns, func(have Column) bool { return have.Name == c.Name })
	if at < 0 {
		at = len(t.Columns)
		t.Columns = append(t.Columns, c)
	}
	n := slices.IndexFunc(t.Rows, func(have Row) bool { return have.Name == row })
	if n < 0 {
		n = len(t.Rows)
		t.Rows = append(t.Rows, Row{Name: row})
	}
	r := &t.Rows[n]
	for len(r.Values) < len(t.Columns) {
		r.Values = append(r.Values, nil)
	}
	r.Values[at] = append(r.Values[at], values...)
}

// Missed are the objectives that were not kept.
func (r Result) Missed() []measure.Verdict {
	return slices.DeleteFunc(slices.Clone(r.Verdicts), func(v measure.Verdict) bool { return v.Kept })
}

// JSON is the result for programs, with a newline at its end. Values that are no numbers
// are left out, as JSON has none for them.
func (r Result) JSON() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // p99<5ms shall read as what was asked for
	if err := encoder.Encode(r.finite()); err != nil {
		return nil, fmt.Errorf("encoding the result: %w", err)
	}
	return text.Bytes(), nil
}

// finite is a copy without values that are no numbers.
func (r Result) finite() Result {
	unfit := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }
	r.Tables, r.Plots = slices.Clone(r.Tables), slices.Clone(r.Plots)
	for n := range r.Tables {
		t := &r.Tables[n]
		t.Rows = slices.Clone(t.Rows)
		for m := range t.Rows {
			t.Rows[m].Values = slices.Clone(t.Rows[m].Values)
			for c, values := range t.Rows[m].Values {
				t.Rows[m].Values[c] = slices.DeleteFunc(slices.Clone(values), unfit)
			}
		}
	}
	for n := range r.Plots {
		p := &r.Plots[n]
		p.Series = slices.Clone(p.Series)
		for m, s := range p.Series {
			p.Series[m].X, p.Series[m].Y = nil, nil
			for i := range min(len(s.X), len(s.Y)) {
				if !unfit(s.X[i]) && !unfit(s.Y[i]) {
					p.Series[m].X, p.Series[m].Y = append(p.Series[m].X, s.X[i]), append(p.Series[m].Y, s.Y[i])
				}
			}
		}
	}
	return r
}
