package measure

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Objective is a limit that a run keeps or misses, such as p99<5ms, max<=1s, mean<2ms
// or errors<0.1%. The zero Objective is never kept.
type Objective struct { //nolint:recvcheck // a value that only UnmarshalText changes
	text      string
	metric    metric
	percent   float64 // of metric percentile
	inclusive bool
	limit     float64 // nanoseconds, or a share
}

type metric int

const (
	none metric = iota
	percentile
	maximum
	mean
	errorShare
)

// NoErrors is the objective of a run that names none about errors: fast answers that
// nobody wanted are no success.
func NoErrors() Objective {
	return Objective{text: "errors<=0%", metric: errorShare, inclusive: true}
}

const wanted = "want something like p99<5ms, p99.9<=20ms, max<1s, mean<2ms or errors<0.1%"

// UnmarshalText reads an objective.
func (o *Objective) UnmarshalText(text []byte) error {
	s := strings.ReplaceAll(string(text), " ", "")
	name, limit, found := strings.Cut(s, "<")
	if !found {
		return fmt.Errorf("%q: %s", text, wanted)
	}
	parsed := Objective{text: s}
	limit, parsed.inclusive = strings.CutPrefix(limit, "=")
	if !parsed.readMetric(name) || !parsed.readLimit(limit) {
		return fmt.Errorf("%q: %s", text, wanted)
	}
	*o = parsed
	return nil
}

// readMetric reads what is measured.
func (o *Objective) readMetric(name string) bool {
	switch name {
	case "max":
		o.metric = maximum
	case "mean":
		o.metric = mean
	case "errors":
		o.metric = errorShare
	default:
		number, found := strings.CutPrefix(name, "p")
		percent, err := strconv.ParseFloat(number, 64)
		// The comparison also refuses what is not a number.
		if !found || err != nil || !(percent > 0 && percent < 100) {
			return false
		}
		o.metric, o.percent = percentile, percent
	}
	return true
}

// readLimit reads the limit.
func (o *Objective) readLimit(limit string) bool {
	if o.metric != errorShare {
		d, err := time.ParseDuration(limit)
		o.limit = float64(d)
		// Longer times are not told apart.
		return err == nil && d > 0 && int64(d) < longest
	}
	number, found := strings.CutSuffix(limit, "%")
	percent, err := strconv.ParseFloat(number, 64)
	o.limit = percent / 100
	return found && err == nil && percent >= 0 && percent <= 100 && (o.inclusive || percent > 0)
}

// OnErrors reports whether the objective limits errors.
func (o Objective) OnErrors() bool { return o.metric == errorShare }

// Verdict is what became of an objective.
type Verdict struct {
	Objective string `json:"objective"`
	// Value is what was measured, with its unit.
	Value string `json:"value"`
	Kept  bool   `json:"kept"`
}

// Judge holds a run against the objective.
func (o Objective) Judge(s Summary) Verdict {
	v := Verdict{Objective: o.text, Value: "nothing was measured"}
	if s.Due == 0 || o.metric != errorShare && s.Latency.Count() == 0 {
		return v
	}
	var measured float64
	switch o.metric {
	case none:
		return v
	case percentile:
		measured = float64(s.Latency.At(o.percent))
	case maximum:
		measured = float64(s.Latency.Max())
	case mean:
		measured = float64(s.Latency.Mean())
	case errorShare:
		measured = s.ErrorShare()
	}
	if o.metric == errorShare {
		v.Value = strconv.FormatFloat(measured*100, 'g', 3, 64) + "%"
	} else {
		v.Value = time.Duration(measured).Round(time.Microsecond).String()
	}
	v.Kept = measured < o.limit || o.inclusive && measured <= o.limit
	return v
}
