package gen

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
)

type nothing struct{}

func (nothing) Do(Arrival)                 {}
func (nothing) Abandon(Arrival, time.Time) {}

// What it takes to be there when something is due.
func BenchmarkPlan(b *testing.B) {
	for _, rate := range []float64{1000, 5000, 20_000} {
		b.Run(fmt.Sprintf("%g a second", rate), func(b *testing.B) {
			p := Plan{Rate: rate, Duration: time.Second, Workers: 64, Seed: 1}
			self, err := measure.Watch(os.Getpid())
			if err != nil {
				b.Fatal(err)
			}
			rounds := 0
			for b.Loop() {
				p.Run(b.Context(), time.Now(), nothing{})
				rounds++
			}
			took, err := self.CPU()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(took.Seconds()*1e6/(rate*float64(rounds)), "CPU-µs/arrival")
		})
	}
}
