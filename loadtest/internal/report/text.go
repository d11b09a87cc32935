package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Text is the result for people.
func (r Result) Text() string {
	var b strings.Builder
	facts := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fact := func(name, value string) { _, _ = fmt.Fprintf(facts, "%s\t%s\n", name, value) } // a Builder takes everything
	fact("scenario", fmt.Sprintf("%s, %s, loadtest %s", r.Scenario, r.Began.Format(time.RFC3339), r.Version))
	for _, f := range r.Setting {
		fact(f.Name, f.Value)
	}
	fact("machine", r.Machine.String())
	_ = facts.Flush()
	for _, t := range r.Tables {
		b.WriteByte('\n')
		t.write(&b)
	}
	for _, remark := range r.Remarks {
		_, _ = fmt.Fprintf(&b, "\n%s\n", remark)
	}
	verdicts := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(verdicts)
	for _, v := range r.Verdicts {
		_, _ = fmt.Fprintf(verdicts, "slo\t%s\t%s\t%s\n", v.Objective, v.Value, map[bool]string{true: "kept", false: "MISSED"}[v.Kept])
	}
	_ = verdicts.Flush()
	if r.Interrupted {
		b.WriteString("\nInterrupted: this is what was measured until then.\n")
	}
	return b.String()
}

// write prints the table: its name, a head of columns with their units, and the rows.
func (t Table) write(w io.Writer) {
	_, _ = fmt.Fprintln(w, t.Name)
	rows := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(rows, "%s\t", t.Of)
	for _, c := range t.Columns {
		_, _ = fmt.Fprintf(rows, "%s\t", c)
	}
	_, _ = fmt.Fprintln(rows)
	for _, r := range t.Rows {
		_, _ = fmt.Fprintf(rows, "%s\t", r.Name)
		for _, v := range r.Values {
			_, _ = fmt.Fprintf(rows, "%s\t", Spread(v))
		}
		_, _ = fmt.Fprintln(rows)
	}
	_ = rows.Flush()
}

// String is the column's head.
func (c Column) String() string {
	if c.Unit == "" {
		return c.Name
	}
	return c.Name + " " + c.Unit
}

// Spread shows values as their median, and the least and the most where there are
// several; as a dash where there are none.
func Spread(values []float64) string {
	switch len(values) {
	case 0:
		return "–"
	case 1:
		return Number(values[0])
	}
	return fmt.Sprintf("%s (%s–%s)", Number(Median(values)), Number(slices.Min(values)), Number(slices.Max(values)))
}

// Median is the middle of values, of an even number the mean of the middle two; not a
// number if there are none. They stay as they are.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Number prints a figure to three digits, and whole numbers as far as they go.
func Number(v float64) string {
	switch size := math.Abs(v); {
	case size >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case size >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case size >= 0.001:
		return strconv.FormatFloat(v, 'f', 2-int(math.Floor(math.Log10(size))), 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
