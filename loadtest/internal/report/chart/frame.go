package chart

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/revocast/revocast/loadtest/internal/report"
)

// Frame is what part of its axes a plot shows.
type Frame struct{ X, Y Span }

// Span is part of an axis, from Min to Max, which is more; both are more than 0 if the
// axis is logarithmic.
type Span struct {
	Min, Max float64
	// Ticks rise; those without a label are between others.
	Ticks []Tick
}

// Tick is a place on an axis.
type Tick struct {
	At    float64
	Label string
}

// FrameOf chooses what to show: all that can be drawn, and zero where that is not far.
func FrameOf(p report.Plot) Frame {
	var xs, ys []float64
	for _, s := range p.Series {
		x, y := Points(p, s)
		ys = append(ys, y...)
		if p.Shape == report.Bars {
			x = Edges(p.X, x)
		}
		xs = append(xs, x...)
	}
	if p.Shape == report.Bars && !p.Y.Log {
		ys = append(ys, 0)
	}
	// Labels are beside one another below the plot, and above one another at its side.
	beside := func(a, b string) float64 { return float64(utf8.RuneCountInString(a+b)+3) / 2 / 85 }
	above := func(_, _ string) float64 { return 1.0 / 16 }
	f := Frame{X: span(p.X, xs, beside), Y: span(p.Y, ys, above)}
	if !p.Y.Log {
		f.Y = f.Y.round()
	}
	return f
}

// Points are those of a series that can be drawn.
func Points(p report.Plot, s report.Series) (xs, ys []float64) {
	for n := range min(len(s.X), len(s.Y)) {
		if drawable(p.X, s.X[n]) && drawable(p.Y, s.Y[n]) {
			xs, ys = append(xs, s.X[n]), append(ys, s.Y[n])
		}
	}
	return xs, ys
}

// drawable also refuses what is too large, or too near zero, to reckon with further.
func drawable(a report.Axis, v float64) bool {
	return math.Abs(v) < 1e90 && (!a.Log || v > 1e-90)
}

// Edges are where bars begin, and where the last one ends: it is as wide as the one
// before it.
func Edges(a report.Axis, xs []float64) []float64 {
	n := len(xs)
	if n == 0 {
		return nil
	}
	last := xs[n-1]
	end := last + 1
	switch {
	case a.Log && n > 1 && xs[n-2] < last:
		end = last * (last / xs[n-2])
	case a.Log:
		end = last * 2
	case n > 1 && xs[n-2] < last:
		end = last + (last - xs[n-2])
	}
	return append(slices.Clone(xs), end)
}

func span(a report.Axis, values []float64, needs func(a, b string) float64) Span {
	if a.Log {
		return logarithmic(values, needs)
	}
	if len(values) == 0 {
		return linear(0, 1)
	}
	least, most := slices.Min(values), slices.Max(values)
	const near = 0.5 // of what is shown anyway
	if least >= 0 && least <= near*most {
		least = 0
	}
	// A span has to be wide enough to be divided.
	switch size := max(math.Abs(least), math.Abs(most)); {
	case size < 1e-90:
		least, most = 0, 1
	case most-least < 1e-9*size:
		least, most = least-size/2, most+size/2
	}
	return linear(least, most)
}

// about is how many labels an axis has, roughly.
const about = 5

// linear has ticks at whole multiples of 1, 2 or 5 times a power of ten.
func linear(least, most float64) Span {
	s := Span{Min: least, Max: most}
	step := stepOf(least, most)
	for k := math.Ceil(least/step - 1e-9); k*step <= most+step*1e-9; k++ {
		s.Ticks = append(s.Ticks, Tick{At: k * step, Label: Label(k * step)})
	}
	return s
}

func stepOf(least, most float64) float64 {
	rough := (most - least) / about
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, of := range []float64{1, 2, 5} {
		if rough <= of*power*(1+1e-9) {
			return of * power
		}
	}
	return 10 * power
}

// round widens a linear span to its next ticks.
func (s Span) round() Span {
	step := stepOf(s.Min, s.Max)
	return linear(math.Floor(s.Min/step+1e-9)*step, math.Ceil(s.Max/step-1e-9)*step)
}

// logarithmic begins and ends with a tick, which are at 1, 2 and 5 times powers of ten.
// All have labels if neighbours have the share of the axis between them that they need,
// else the powers of ten, or every second of them, and so on.
func logarithmic(values []float64, needs func(a, b string) float64) Span {
	if len(values) == 0 {
		values = []float64{1, 10}
	}
	least, most := slices.Min(values), slices.Max(values)
	var ticks []Tick
	for power := math.Floor(math.Log10(least)); len(ticks) < 2 || ticks[len(ticks)-1].At < most*(1-1e-9); power++ {
		for _, digit := range []float64{1, 2, 5} {
			at := digit * math.Pow(10, power)
			if len(ticks) > 1 && ticks[len(ticks)-1].At >= most*(1-1e-9) {
				break
			}
			if at <= least*(1+1e-9) {
				ticks = nil // the one before is not needed
			}
			ticks = append(ticks, Tick{At: at})
		}
	}
	s := Span{Min: ticks[0].At, Max: ticks[len(ticks)-1].At, Ticks: ticks}
	for every := 0.0; ; every++ {
		before, fits := -1, true
		for n := range ticks {
			ticks[n].Label = ""
			power := math.Round(math.Log10(ticks[n].At))
			if every > 0 && (math.Abs(ticks[n].At/math.Pow(10, power)-1) > 1e-9 || math.Mod(power, every) != 0) {
				continue
			}
			ticks[n].Label = Label(ticks[n].At)
			if before >= 0 {
				between := math.Log(ticks[n].At/ticks[before].At) / math.Log(s.Max/s.Min)
				fits = fits && between >= needs(ticks[before].Label, ticks[n].Label)
			}
			before = n
		}
		if fits {
			return s
		}
	}
}

// Label prints the number at a tick, with commas between thousands.
func Label(v float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 10, 64), 64)
	if size := math.Abs(rounded); err != nil || size >= 1e12 || size != 0 && size < 1e-6 {
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(math.Abs(rounded), 'f', -1, 64), ".")
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if rounded < 0 {
		return "−" + whole
	}
	return whole
}
