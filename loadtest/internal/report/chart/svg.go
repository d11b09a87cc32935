package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"strings"
	"unicode"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/revocast/revocast/loadtest/internal/report"
)

const (
	width  = 17 * vg.Centimeter  // what A4 has between its margins
	height = 7.5 * vg.Centimeter // and the legend's
	margin = 6 * vg.Length(1)    // in points, as all lengths
	size   = font.Length(10)
)

// SVG draws the plot, with its name above unless that is empty, and the names of its
// series below.
func SVG(p report.Plot) ([]byte, error) {
	drawing := plot.New()
	drawing.Title.Text = text(p.Name)
	drawing.Title.Padding = 2 * margin
	drawing.Title.TextStyle.Font = sans(size + 2)
	frame := FrameOf(p)
	axis(&drawing.X, p.X, frame.X)
	axis(&drawing.Y, p.Y, frame.Y)
	drawing.Add(grid())
	columns := newLegend(p)
	for n, s := range p.Series {
		series := newSeries(p, s, n)
		drawing.Add(series...)
		columns[n%len(columns)].Add(text(s.Name), thumbnails(series)...)
	}
	below := columns[0].Rectangle(draw.Canvas{}).Size().Y + 3*margin
	svg := vgsvg.New(width, height+below)
	canvas := draw.Crop(draw.New(svg), margin, -margin, margin, -margin)
	drawing.Draw(draw.Crop(canvas, 0, 0, below, 0))
	for n := range columns {
		columns[n].Draw(draw.Crop(canvas, legendLeft+vg.Length(n)*legendColumn, 0, 0, 2*margin-height))
	}
	var out bytes.Buffer
	if _, err := svg.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("drawing plot %s: %w", p.Name, err)
	}
	// The drawing is measured for Liberation Sans; the others are as wide.
	return bytes.ReplaceAll(out.Bytes(), []byte(`style="font-family:Liberation Sans;`), []byte(`style="font-family:'Liberation Sans',Arial,Helvetica,sans-serif;`)), nil
}

const (
	legendLeft   = 1.5 * vg.Centimeter
	legendColumn = 7.5 * vg.Centimeter
)

// newLegend is one column for the names of series, or two that take turns if all of them
// are short.
func newLegend(p report.Plot) []plot.Legend {
	column := plot.NewLegend()
	column.Left, column.Top = true, true
	column.Padding, column.ThumbnailWidth = margin/2, 1.5*vg.Centimeter
	column.TextStyle.Font = sans(size)
	for _, s := range p.Series {
		if column.ThumbnailWidth+column.TextStyle.Width(" "+text(s.Name)+" ") > legendColumn {
			return []plot.Legend{column}
		}
	}
	return []plot.Legend{column, column}
}

func sans(points font.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: points}
}

// text keeps a name to one line, and to what XML can hold.
func text(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func axis(of *plot.Axis, a report.Axis, s Span) {
	of.Label.Text = text(a.String())
	of.Label.TextStyle.Font, of.Tick.Label.Font = sans(size), sans(size-1)
	of.Label.Padding = margin / 2
	of.Padding = 0
	of.Min, of.Max = s.Min, s.Max
	if a.Log {
		of.Scale = plot.LogScale{}
	}
	ticks := make([]plot.Tick, 0, len(s.Ticks))
	for _, t := range s.Ticks {
		ticks = append(ticks, plot.Tick{Value: t.At, Label: t.Label})
	}
	of.Tick.Marker = plot.ConstantTicks(ticks)
}

func grid() plot.Plotter {
	g := plotter.NewGrid()
	style := draw.LineStyle{Color: color.Gray{Y: 0xdd}, Width: 0.5}
	g.Horizontal, g.Vertical = style, style
	return g
}

// newSeries is what draws a series, the line last.
func newSeries(p report.Plot, s report.Series, n int) []plot.Plotter {
	xs, ys := Points(p, s)
	pen := PenOf(n)
	style := draw.LineStyle{Color: parse(pen.Light, 0xff), Width: 1.5}
	for _, length := range pen.Dash {
		style.Dashes = append(style.Dashes, vg.Length(length))
	}
	if p.Shape == report.Bars {
		return []plot.Plotter{&bars{edges: Edges(p.X, xs), ys: ys, style: style, fill: parse(pen.Light, 0x30)}}
	}
	line := &plotter.Line{LineStyle: style}
	for i := range xs {
		line.XYs = append(line.XYs, plotter.XY{X: xs[i], Y: ys[i]})
	}
	if p.Shape == report.Step {
		line.StepStyle = plotter.PostStep
		return []plot.Plotter{line}
	}
	const few = 30 // more marks would hide the line
	if len(xs) > few {
		return []plot.Plotter{line}
	}
	marks := [...]draw.GlyphDrawer{
		draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{}, draw.PlusGlyph{},
	}
	return []plot.Plotter{
		line,
		&plotter.Scatter{XYs: line.XYs, GlyphStyle: draw.GlyphStyle{Color: style.Color, Radius: 3, Shape: marks[n%len(marks)]}},
	}
}

func thumbnails(series []plot.Plotter) []plot.Thumbnailer {
	var all []plot.Thumbnailer
	for _, s := range series {
		if t, ok := s.(plot.Thumbnailer); ok {
			all = append(all, t)
		}
	}
	return all
}

// parse reads #rrggbb; anything else is black.
func parse(hex string, alpha uint8) color.NRGBA {
	c := color.NRGBA{A: alpha}
	if _, err := fmt.Sscanf(hex, "#%02x%02x%02x", &c.R, &c.G, &c.B); err != nil {
		return color.NRGBA{A: alpha}
	}
	return c
}

// bars draws a bar between every two edges.
type bars struct {
	edges, ys []float64
	style     draw.LineStyle
	fill      color.Color
}

// Plot implements [plot.Plotter].
func (b *bars) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	base := max(p.Y.Min, 0)
	for n, y := range b.ys {
		if y == 0 {
			continue // an empty bar has no sides
		}
		b.rectangle(c, toX(b.edges[n]), toX(b.edges[n+1]), toY(base), toY(y))
	}
}

// Thumbnail implements [plot.Thumbnailer].
func (b *bars) Thumbnail(c *draw.Canvas) {
	b.rectangle(*c, c.Min.X, c.Max.X, c.Min.Y, c.Max.Y)
}

func (b *bars) rectangle(c draw.Canvas, left, right, bottom, top vg.Length) {
	corners := []vg.Point{{X: left, Y: bottom}, {X: left, Y: top}, {X: right, Y: top}, {X: right, Y: bottom}}
	c.FillPolygon(b.fill, corners)
	c.StrokeLines(b.style, append(corners, corners[0]))
}
