package measure_test

import (
	"os"
	"testing"

	"github.com/revocast/revocast/loadtest/internal/measure"
)

// Ends only if computing is noticed.
func TestCPU(t *testing.T) {
	p, err := measure.Watch(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for x := 1.0; p.Busy() == 0; x++ {
		_ = x * x
	}
}

func TestMemory(t *testing.T) {
	p, err := measure.Watch(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	before, err := p.Memory()
	if err != nil || before < 1<<20 {
		t.Fatalf("this process takes %d bytes, %v", before, err)
	}
	const more = 64 << 20
	kept := make([]byte, more)
	for i := range kept {
		kept[i] = 1
	}
	if after, err := p.Memory(); err != nil || after < before+more/2 {
		t.Errorf("with %d bytes more: from %d to %d, %v", len(kept), before, after, err)
	}
}

func TestWatchNobody(t *testing.T) {
	if _, err := measure.Watch(1<<31 - 1); err == nil {
		t.Error("there is no such process")
	}
}
