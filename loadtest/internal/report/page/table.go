package page

import (
	"fmt"
	"slices"

	"github.com/revocast/revocast/loadtest/internal/report"
)

// table is a report's table as it is shown.
type table struct {
	Name, Of string
	Columns  []report.Column
	Rows     []row
	// Samples says that cells hold several.
	Samples bool
}

type row struct {
	Name  string
	Cells []cell
}

// cell is a figure: its median, and from where to where the samples went, if there are
// several.
type cell struct{ Median, Spread string }

func newTable(t report.Table) table {
	shown := table{Name: t.Name, Of: t.Of, Columns: t.Columns}
	for _, r := range t.Rows {
		cells := make([]cell, len(t.Columns))
		for n := range cells {
			var values []float64
			if n < len(r.Values) {
				values = r.Values[n]
			}
			cells[n] = newCell(values)
			shown.Samples = shown.Samples || cells[n].Spread != ""
		}
		shown.Rows = append(shown.Rows, row{Name: r.Name, Cells: cells})
	}
	return shown
}

func newCell(values []float64) cell {
	switch len(values) {
	case 0:
		return cell{Median: "–"}
	case 1:
		return cell{Median: report.Number(values[0])}
	}
	return cell{
		Median: report.Number(report.Median(values)),
		Spread: fmt.Sprintf("%s–%s", report.Number(slices.Min(values)), report.Number(slices.Max(values))),
	}
}
