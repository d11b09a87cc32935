package page

import (
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/report/chart"
)

// drawing is a plot as the script wants it.
type drawing struct {
	Shape  report.Shape `json:"shape"`
	X      axis         `json:"x"`
	Y      axis         `json:"y"`
	Series []line       `json:"series"`
}

type axis struct {
	Label string  `json:"label"`
	Unit  string  `json:"unit"`
	Title string  `json:"title"`
	Log   bool    `json:"log"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
}

// line is a series. Of bars, X has one more value than Y: where the last one ends.
type line struct {
	Name string    `json:"name"`
	Pen  chart.Pen `json:"pen"`
	X    []float64 `json:"x"`
	Y    []float64 `json:"y"`
}

func newDrawing(p report.Plot) drawing {
	frame := chart.FrameOf(p)
	d := drawing{Shape: p.Shape, X: newAxis(p.X, frame.X), Y: newAxis(p.Y, frame.Y), Series: []line{}}
	for n, s := range p.Series {
		l := line{Name: s.Name, Pen: chart.PenOf(n), X: []float64{}, Y: []float64{}}
		xs, ys := chart.Points(p, s)
		if p.Shape == report.Bars {
			xs = chart.Edges(p.X, xs)
		}
		l.X, l.Y = append(l.X, xs...), append(l.Y, ys...)
		d.Series = append(d.Series, l)
	}
	return d
}

func newAxis(a report.Axis, s chart.Span) axis {
	return axis{Label: a.Label, Unit: a.Unit, Title: a.String(), Log: a.Log, Min: s.Min, Max: s.Max}
}
