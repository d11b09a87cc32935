package report

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
)

// Progress shows how a run is getting on: on a terminal as one line that is written
// again and again, elsewhere as a line now and then.
type Progress struct {
	Out      io.Writer
	Terminal bool
	// Began is when the load began; of its Length the first part is WarmUp.
	Began          time.Time
	WarmUp, Length time.Duration
}

const (
	redraw = 500 * time.Millisecond
	plain  = 5 * time.Second
)

// Run shows what so gives until ctx ends.
func (p Progress) Run(ctx context.Context, so func() measure.Summary) {
	every := plain
	if p.Terminal {
		every = redraw
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	before, at := so(), p.Began.Add(p.WarmUp)
	for {
		select {
		case <-ctx.Done():
			if p.Terminal {
				_, _ = io.WriteString(p.Out, "\r\x1b[K") // the result takes its place
			}
			return
		case now := <-ticker.C:
			after := so()
			if !now.After(at) {
				p.show(now.Sub(p.Began), 0, after)
				continue
			}
			p.show(now.Sub(p.Began), float64(after.Answered-before.Answered)/now.Sub(at).Seconds(), after)
			before, at = after, now
		}
	}
}

// show prints one line. Nothing depends on whether it can.
func (p Progress) show(since time.Duration, rate float64, s measure.Summary) {
	line := fmt.Sprintf("%3.0fs of %.0fs  warming up", since.Seconds(), p.Length.Seconds())
	if since > p.WarmUp {
		line = fmt.Sprintf("%3.0fs of %.0fs  %.0f/s  p99 %.3f ms  %d errors",
			min(since, p.Length).Seconds(), p.Length.Seconds(), rate, measure.Milliseconds(s.Latency.At(99)), s.Errors())
	}
	if p.Terminal {
		_, _ = fmt.Fprintf(p.Out, "\r%s\x1b[K", line)
		return
	}
	_, _ = fmt.Fprintf(p.Out, "loadtest: %s\n", line)
}
