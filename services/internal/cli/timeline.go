package cli

import (
	"fmt"
	"strings"
	"time"
)

// timeline prints what happens as it happens, with the milliseconds since the
// beginning and the milliseconds each step took, both by the monotonic clock. As
// JSON it prints once, at the end.
type timeline struct {
	t     *terminal
	began time.Time
	Steps []step `json:"steps"`
	OK    bool   `json:"ok"`
}

type step struct {
	// At is when the step was over and Took how long it was, in milliseconds.
	At     float64 `json:"at_ms"`
	Took   float64 `json:"took_ms"`
	What   string  `json:"step"`
	Detail string  `json:"detail"`
	OK     bool    `json:"ok"`
}

func newTimeline(t *terminal, title string) *timeline {
	if !t.json {
		t.printf("%s\n\n%s\n", t.paint(bold, title), t.paint(dim, "     at ms   took ms"))
	}
	return &timeline{t: t, began: time.Now()}
}

// add records a step that held, from began to ended.
func (l *timeline) add(began, ended time.Time, what, detail string) {
	l.record(began, ended, what, detail, true)
}

// fail records the step that does not hold, from began to now, with the first line
// of why.
func (l *timeline) fail(began time.Time, what string, err error) {
	why, _, _ := strings.Cut(err.Error(), "\n")
	l.record(began, time.Now(), what, why, false)
}

func (l *timeline) record(began, ended time.Time, what, detail string, ok bool) {
	s := step{milliseconds(ended.Sub(l.began)), milliseconds(ended.Sub(began)), what, detail, ok}
	l.Steps = append(l.Steps, s)
	if l.t.json {
		return
	}
	colour, mark := green, "ok"
	if !ok {
		colour, mark = red, "NO"
	}
	l.t.printf("%10.1f%10.1f  %s  %s %s\n", s.At, s.Took,
		l.t.paint(colour, mark), l.t.paint(bold, fmt.Sprintf("%-10s", what)), printable(detail))
}

// end prints the outcome.
func (l *timeline) end(ok bool) error {
	l.OK = ok
	switch {
	case l.t.json:
		return l.t.printJSON(l)
	case ok:
		l.t.printf("\n%s every step held, in %.1f s.\n", l.t.paint(green, "ok:"), time.Since(l.began).Seconds())
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
