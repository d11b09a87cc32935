// Package spread words what was measured several times: the median, with the least
// and the most beside it. The proofs print nothing else, so that no lucky run is
// taken for the usual one.
package spread

import (
	"fmt"
	"slices"
	"strings"
)

// Spread is the middle of some values and how far they lie apart, in their unit.
type Spread struct{ Median, Min, Max float64 }

// Of gives the spread of values, which it leaves as they are. Of an even number the
// median is the upper of the two in the middle. No values have the zero Spread.
func Of(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return Spread{Median: sorted[len(sorted)/2], Min: sorted[0], Max: sorted[len(sorted)-1]}
}

// String gives the median, and in brackets the range, to three digits.
func (s Spread) String() string {
	if s.Min == s.Max {
		return digits(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", digits(s.Median), digits(s.Min), digits(s.Max))
}

// digits writes v to three digits, without an exponent.
func digits(v float64) string {
	places := 2
	for limit := 10.0; places > 0 && (v >= limit || -v >= limit); limit *= 10 {
		places--
	}
	return fmt.Sprintf("%.*f", places, v)
}

// Table lines up rows of cells under a head, in the form that Markdown reads.
func Table(head []string, rows [][]string) string {
	width := make([]int, len(head))
	all := append([][]string{head}, rows...)
	for _, row := range all {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for n, row := range all {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %s%s ", cell, strings.Repeat(" ", width[i]-len([]rune(cell))))
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, w := range width {
				b.WriteString("|" + strings.Repeat("-", w+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}
