package soak

import (
	"math"
	"slices"
	"time"
)

// Series is something that was looked at now and then.
type Series struct {
	At     []time.Duration // since the load began, rising
	Values []float64
}

// Add adds a value.
func (s *Series) Add(at time.Duration, value float64) {
	s.At = append(s.At, at)
	s.Values = append(s.Values, value)
}

// Trend is the line through a series.
type Trend struct {
	// Over is the time that it was fitted to, and From and To its ends.
	Over     time.Duration
	From, To float64
}

// Fit fits a line to the later half of the series: what fills up in the beginning and
// then stays is no trend. The line is Theil's and Sen's, whose slope is the median of all
// slopes between two points: a garbage collection more or less does not bend it. It is
// zero for fewer than four values.
func (s *Series) Fit() Trend {
	half := len(s.Values) / 2
	at, values := s.At[half:], s.Values[half:]
	if half < 2 {
		return Trend{}
	}
	var slopes, heights []float64 // a second
	for i := range values {
		for j := range i {
			if run := (at[i] - at[j]).Seconds(); run > 0 {
				slopes = append(slopes, (values[i]-values[j])/run)
			}
		}
	}
	if len(slopes) == 0 {
		return Trend{}
	}
	slope := median(slopes)
	for i := range values {
		heights = append(heights, values[i]-slope*(at[i]-at[0]).Seconds())
	}
	from, over := median(heights), at[len(at)-1]-at[0]
	return Trend{Over: over, From: from, To: from + slope*over.Seconds()}
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// Growth is how much more there is in the end than in the beginning, as a share of that.
func (t Trend) Growth() float64 {
	if t.From <= 0 {
		return 0
	}
	return t.To/t.From - 1
}

// PerHour is how much is added in an hour.
func (t Trend) PerHour() float64 {
	if t.Over <= 0 {
		return 0
	}
	return (t.To - t.From) / t.Over.Hours()
}

// Exceeds reports whether there is more growth than a share, and more than a number that
// comes and goes.
func (t Trend) Exceeds(share, coincidence float64) bool {
	return t.Growth() > share && math.Abs(t.To-t.From) > coincidence
}
