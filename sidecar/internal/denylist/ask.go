package denylist

import (
	"context"
	"fmt"
	"time"
)

// maxAsking is how many questions the disk is asked at once. A disk that works
// answers each within microseconds; of one that does not, no more goroutines wait
// than these.
const maxAsking = 64

// ask is onDisk that waits no longer than ctx lasts: no file system can be told to
// give up a read. A question left behind goes on, and what it finds is kept.
func (d *Denylist) ask(ctx context.Context, at target, now time.Time, before disk) (Finding, error) {
	if ctx.Done() == nil {
		return d.onDisk(at, now, before)
	}
	if ctx.Err() != nil { // who does not wait puts no question
		return Finding{}, fmt.Errorf("waiting for the disk: %w", context.Cause(ctx))
	}
	select {
	case d.asking <- struct{}{}:
	case <-ctx.Done():
		return Finding{}, fmt.Errorf("waiting for the disk: %w", context.Cause(ctx))
	}
	type answer struct {
		Finding
		error
	}
	answered := make(chan answer, 1)
	d.reads.Add(1)
	go func() { // waited for by answered, and by allAnswered where we gave up
		f, err := d.onDisk(at, now, before)
		d.reads.Add(-1)
		<-d.asking
		answered <- answer{f, err}
	}()
	select {
	case a := <-answered:
		return a.Finding, a.error
	case <-ctx.Done():
		return Finding{}, fmt.Errorf("waiting for the disk: %w", context.Cause(ctx))
	}
}

// allAnswered waits until no question to the disk is without an answer.
func (d *Denylist) allAnswered() {
	for range maxAsking {
		d.asking <- struct{}{}
	}
	for range maxAsking {
		<-d.asking
	}
}
