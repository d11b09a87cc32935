package soak

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// series has a value each minute.
func series(n int, value func(minute float64) float64) *Series {
	s := &Series{}
	for k := range n {
		s.Add(time.Duration(k)*time.Minute, value(float64(k)))
	}
	return s
}

// What grows is told from what filled up, saws, or was disturbed.
func TestFit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, c := range map[string]struct {
		value  func(float64) float64
		growth float64 // over the later half of an hour
	}{
		"steady":                 {func(float64) float64 { return 50 }, 0},
		"grows by one a minute":  {func(m float64) float64 { return 100 + m }, 29.0 / 130},
		"shrinks":                {func(m float64) float64 { return 200 - m }, -29.0 / 170},
		"fills up and stays":     {func(m float64) float64 { return math.Min(100, 10*m) }, 0},
		"saws":                   {func(m float64) float64 { return 100 + math.Mod(7*m, 20) }, 0},
		"saws and grows":         {func(m float64) float64 { return 100 + m + math.Mod(7*m, 20) }, 29.0 / 140},
		"once much higher":       {func(m float64) float64 { return map[bool]float64{true: 1000, false: 100}[m == 45] }, 0},
		"noise":                  {func(float64) float64 { return 100 + 2*random.NormFloat64() }, 0},
		"noise that grows":       {func(m float64) float64 { return 100 + m + 2*random.NormFloat64() }, 29.0 / 130},
		"nothing":                {func(float64) float64 { return 0 }, 0},
		"from nothing, steadily": {func(m float64) float64 { return m }, 29.0 / 30},
	} {
		trend := series(60, c.value).Fit()
		if got := trend.Growth(); math.Abs(got-c.growth) > 0.03 {
			t.Errorf("%s: %.3f, want %.3f", name, got, c.growth)
		}
		if trend.Over != 29*time.Minute {
			t.Errorf("%s: over %s", name, trend.Over)
		}
		if got, want := trend.PerHour(), (trend.To-trend.From)*60/29; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %g an hour, want %g", name, got, want)
		}
	}
}

// The order of a line's slope does not depend on its height or unit.
func TestFitIsEquivariant(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(1, 1000), 4, 40).Draw(rt, "values")
		scale := rapid.Float64Range(0.1, 100).Draw(rt, "scale")
		one := series(len(values), func(m float64) float64 { return values[int(m)] }).Fit()
		many := series(len(values), func(m float64) float64 { return scale * values[int(m)] }).Fit()
		if math.Abs(many.From-scale*one.From) > 1e-6*scale*1000 || math.Abs(many.To-scale*one.To) > 1e-6*scale*1000 {
			rt.Fatalf("%+v, times %g: %+v", one, scale, many)
		}
	})
}

func TestFitOfLittle(t *testing.T) {
	for n := range 4 {
		if got := series(n, func(m float64) float64 { return m }).Fit(); got != (Trend{}) || got.Growth() != 0 || got.PerHour() != 0 {
			t.Errorf("%d values: %+v", n, got)
		}
	}
	at := &Series{}
	for range 8 {
		at.Add(0, 1)
	}
	if got := at.Fit(); got != (Trend{}) {
		t.Errorf("all at once: %+v", got)
	}
}

func TestExceeds(t *testing.T) {
	for _, c := range []struct {
		from, to, share, coincidence float64
		want                         bool
	}{
		{100, 111, 0.1, 0, true},
		{100, 110, 0.11, 0, false},
		{100, 90, 0.1, 0, false},
		{10, 12, 0.1, 3, false},
		{10, 14, 0.1, 3, true},
		{0, 10, 0.1, 0, false},
	} {
		if got := (Trend{time.Hour, c.from, c.to}).Exceeds(c.share, c.coincidence); got != c.want {
			t.Errorf("from %g to %g beyond %g and %g: %t", c.from, c.to, c.share, c.coincidence, got)
		}
	}
}
