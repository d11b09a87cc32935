//go:build unix

package measure_test

import (
	"testing"

	"github.com/revocast/revocast/loadtest/internal/measure"
)

// Ends only if computing is noticed.
func TestCPU(*testing.T) {
	c := measure.StartCPU()
	for x := 1.0; c.Busy() == 0; x++ {
		_ = x * x
	}
}
