package front

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever waits does so for as long as it says, from the first wait on, and no longer than
// the parent lives or the answer takes.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, 1))
		defer cancel()
		p := newPatience(parent, time.Second)
		time.Sleep(time.Minute)
		if p.Err() != nil || p.Value(key{}) != 1 {
			t.Fatal("it is over before anybody has waited")
		}
		began := time.Now()
		<-p.Done()
		if took := time.Since(began); took != time.Second || !errors.Is(p.Err(), context.DeadlineExceeded) {
			t.Errorf("over after %s: %v", took, p.Err())
		}
		p.close()

		p = newPatience(parent, time.Second)
		if until, ok := p.Deadline(); !ok || time.Until(until) != time.Second {
			t.Errorf("until %s, %t", until, ok)
		}
		child, end := context.WithTimeout(p, time.Hour)
		defer end()
		p.close()
		<-child.Done()
		if !errors.Is(p.Err(), context.Canceled) {
			t.Errorf("closed: %v", p.Err())
		}

		p = newPatience(parent, time.Second)
		p.close()
		if !errors.Is(p.Err(), context.Canceled) {
			t.Errorf("closed: %v", p.Err())
		}
		<-p.Done() // who comes too late does not wait

		p = newPatience(parent, time.Second)
		defer p.close()
		cancel()
		if !errors.Is(p.Err(), context.Canceled) {
			t.Errorf("the parent is over: %v", p.Err())
		}
		<-p.Done()
	})
}
