package stack

import (
	"testing"
)

// Of two that look for ports, as two processes do, neither ever finds one of the other's,
// and no port comes up again before all the others have.
func TestFreePorts(t *testing.T) {
	var ours, theirs ports
	t.Cleanup(func() {
		for _, p := range []*ports{&ours, &theirs} {
			if p.owned != nil {
				_ = p.owned.Close()
			}
		}
	})
	seen := map[int]bool{}
	for range 10 {
		for _, p := range []*ports{&ours, &theirs} {
			found, err := p.free(20)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 20 {
				t.Errorf("%d ports, want 20", len(found))
			}
			for _, port := range found {
				if seen[port] {
					t.Errorf("port %d twice", port)
				}
				seen[port] = true
			}
		}
	}

	taken, err := ours.free(1)
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen(taken[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if all, err := ours.free(blockSize - 1); err == nil {
		t.Errorf("found %d ports, of which one is taken", len(all))
	}
	rest, err := ours.free(blockSize - 2 - 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range rest {
		if port == taken[0] {
			t.Errorf("port %d is taken", port)
		}
	}
}
