package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/report/chart"
)

func plot(shape report.Shape, xLog, yLog bool) report.Plot {
	return report.Plot{
		Name: "Latency & <more>", Shape: shape,
		X: report.Axis{Label: "entries", Unit: "k", Log: xLog}, Y: report.Axis{Label: "time", Unit: "ms", Log: yLog},
		Series: []report.Series{
			{Name: "first <one>", X: []float64{1, 10, 100, 1000}, Y: []float64{3, 4, 9, 80}},
			{Name: "second\x00", X: []float64{2, 20, 200}, Y: []float64{1, 2, 3}},
		},
	}
}

// read gives the texts of an SVG and how many paths have each style; it has to be XML.
func read(t *testing.T, svg []byte) (texts []string, styles map[string]int) {
	t.Helper()
	styles = map[string]int{}
	d := xml.NewDecoder(bytes.NewReader(svg))
	inText := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts, styles
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		switch e := token.(type) {
		case xml.StartElement:
			inText = e.Name.Local == "text"
			for _, a := range e.Attr {
				if e.Name.Local == "path" && a.Name.Local == "style" {
					styles[a.Value]++
				}
			}
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				texts = append(texts, string(e))
			}
		}
	}
}

// Every shape on every kind of axes is drawn with its names, and always the same.
func TestSVG(t *testing.T) {
	for _, shape := range []report.Shape{report.Line, report.Step, report.Bars} {
		for n := range 4 {
			p := plot(shape, n&1 > 0, n&2 > 0)
			t.Run(fmt.Sprintf("%s,%v,%v", shape, p.X.Log, p.Y.Log), func(t *testing.T) {
				svg, err := chart.SVG(p)
				if err != nil {
					t.Fatal(err)
				}
				texts, styles := read(t, svg)
				for _, want := range []string{"Latency & <more>", "entries (k)", "time (ms)", "first <one>", "second "} {
					if !slices.Contains(texts, want) {
						t.Errorf("no %q in %q", want, texts)
					}
				}
				drawn := map[string]int{}
				for style, paths := range styles {
					for n := range p.Series {
						pen := chart.PenOf(n)
						dashed := strings.Contains(style, "stroke-dasharray")
						if strings.Contains(style, "stroke:"+strings.ToUpper(pen.Light)) && dashed == (len(pen.Dash) > 0) {
							drawn[p.Series[n].Name] += paths
						}
					}
				}
				for _, s := range p.Series { // in the plot and in the legend
					if drawn[s.Name] < 2 {
						t.Errorf("%q is drawn %d times: %v", s.Name, drawn[s.Name], styles)
					}
				}
				again, err := chart.SVG(p)
				if err != nil || !bytes.Equal(svg, again) {
					t.Errorf("the second time it is drawn otherwise, %v", err)
				}
			})
		}
	}
}

// Nothing that a plot may hold makes drawing fail, and all that can be drawn is within
// the frame.
func TestAnyPlot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(
			rapid.Float64(), rapid.Float64Range(-1000, 1000), rapid.Float64Range(0, 1e-3),
			rapid.SampledFrom([]float64{0, 1, 10, 1e7, 5e-324, math.MaxFloat64, math.Inf(1), math.NaN()}),
		)
		p := report.Plot{
			Name: rapid.String().Draw(t, "name"), Shape: rapid.SampledFrom([]report.Shape{report.Line, report.Step, report.Bars}).Draw(t, "shape"),
			X: report.Axis{Label: rapid.String().Draw(t, "x"), Log: rapid.Bool().Draw(t, "x log")}, Y: report.Axis{Log: rapid.Bool().Draw(t, "y log")},
		}
		for range rapid.IntRange(0, 3).Draw(t, "series") {
			xs := rapid.SliceOfN(number, 0, 40).Draw(t, "xs")
			slices.Sort(xs)
			p.Series = append(p.Series, report.Series{Name: rapid.String().Draw(t, "series name"), X: xs, Y: rapid.SliceOfN(number, len(xs), len(xs)).Draw(t, "ys")})
		}
		f := chart.FrameOf(p)
		within := func(s chart.Span, v float64) bool {
			slack := 1e-6 * (s.Max - s.Min)
			return v >= s.Min-slack && v <= s.Max+slack
		}
		for _, s := range []chart.Span{f.X, f.Y} {
			if !(s.Min < s.Max) || len(s.Ticks) < 2 || len(s.Ticks) > 2000 {
				t.Fatalf("span %+v", s)
			}
			if !slices.ContainsFunc(s.Ticks, func(t chart.Tick) bool { return t.Label != "" }) {
				t.Fatalf("no label: %+v", s)
			}
		}
		for _, s := range p.Series {
			xs, ys := chart.Points(p, s)
			for n := range xs {
				if !within(f.X, xs[n]) || !within(f.Y, ys[n]) {
					t.Fatalf("%v, %v is outside %v–%v, %v–%v", xs[n], ys[n], f.X.Min, f.X.Max, f.Y.Min, f.Y.Max)
				}
			}
		}
		if _, err := chart.SVG(p); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFrame(t *testing.T) {
	labels := func(s chart.Span) string {
		var all []string
		for _, t := range s.Ticks {
			if t.Label != "" {
				all = append(all, t.Label)
			}
		}
		return strings.Join(all, " ")
	}
	for _, c := range []struct {
		name   string
		log    bool
		values []float64
		x, y   string
	}{
		{"nothing", false, nil, "0 0.2 0.4 0.6 0.8 1", "0 0.2 0.4 0.6 0.8 1"},
		{"one zero", false, []float64{0}, "0 0.2 0.4 0.6 0.8 1", "0 0.2 0.4 0.6 0.8 1"},
		{"one value", false, []float64{3}, "2 3 4", "1 2 3 4 5"},
		{"from near zero", false, []float64{1, 97}, "0 20 40 60 80", "0 20 40 60 80 100"},
		{"far from zero", false, []float64{90, 97}, "90 92 94 96", "90 92 94 96 98"},
		{"below zero", false, []float64{-3, 2}, "−3 −2 −1 0 1 2", "−3 −2 −1 0 1 2"},
		{"log", true, []float64{0.3, 19}, "0.2 0.5 1 2 5 10 20", "0.2 0.5 1 2 5 10 20"},
		{"log of one value", true, []float64{7}, "5 10", "5 10"},
		{"log of a power of ten", true, []float64{10}, "10 20", "10 20"},
		{"log, many", true, []float64{1000, 1e7}, "1,000 10,000 100,000 1,000,000 10,000,000", "1,000 2,000 5,000 10,000 20,000 50,000 100,000 200,000 500,000 1,000,000 2,000,000 5,000,000 10,000,000"},
		{"log of nothing", true, nil, "1 2 5 10", "1 2 5 10"},
	} {
		f := chart.FrameOf(report.Plot{
			X: report.Axis{Log: c.log}, Y: report.Axis{Log: c.log}, Shape: report.Line, Series: []report.Series{{X: c.values, Y: c.values}},
		})
		if got := labels(f.X); got != c.x {
			t.Errorf("%s: x is labelled %s, want %s", c.name, got, c.x)
		}
		if got := labels(f.Y); got != c.y {
			t.Errorf("%s: y is labelled %s, want %s", c.name, got, c.y)
		}
	}
}

func TestEdges(t *testing.T) {
	for _, c := range []struct {
		log      bool
		xs, want []float64
	}{
		{false, nil, nil},
		{false, []float64{5}, []float64{5, 6}},
		{true, []float64{5}, []float64{5, 10}},
		{false, []float64{1, 3}, []float64{1, 3, 5}},
		{true, []float64{1, 4}, []float64{1, 4, 16}},
		{false, []float64{3, 3}, []float64{3, 3, 4}},
	} {
		if got := chart.Edges(report.Axis{Log: c.log}, c.xs); !slices.Equal(got, c.want) {
			t.Errorf("edges of %v are %v, want %v", c.xs, got, c.want)
		}
	}
}

// No two of the first series look alike, nor do neighbours in black and white.
func TestPens(t *testing.T) {
	seen := map[string]bool{}
	for n := range 42 {
		pen := chart.PenOf(n)
		if look := fmt.Sprint(pen); seen[look] {
			t.Errorf("pen %d is not the first like %s", n, look)
		} else {
			seen[look] = true
		}
		if next := chart.PenOf(n + 1); slices.Equal(pen.Dash, next.Dash) || pen.Light == next.Light || pen.Dark == next.Dark {
			t.Errorf("pens %d and %d: %v, %v", n, n+1, pen, next)
		}
	}
}

func TestLabel(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.1 + 0.2: "0.3", 1234567: "1,234,567", -1000: "−1,000", 999: "999", 0.001: "0.001", 1e-7: "1e-07", 1e12: "1e+12", 12.5: "12.5",
	} {
		if got := chart.Label(v); got != want {
			t.Errorf("%v reads %q, want %q", v, got, want)
		}
	}
}
