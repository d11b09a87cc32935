package cli

import (
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/soak"
)

// What grows beyond what is allowed misses an objective, of what must not grow; all of it
// is shown.
func TestGrow(t *testing.T) {
	watched := func(values ...float64) *soak.Watched {
		s := &soak.Series{}
		for n, v := range values {
			s.Add(time.Duration(n)*time.Minute, v)
		}
		return &soak.Watched{Name: "a", Series: map[string]*soak.Series{"memory": s, "open files": s, "disk": s}}
	}
	for name, c := range map[string]struct {
		values []float64
		missed map[string]bool
	}{
		"steady":           {[]float64{10, 20, 30, 30, 30, 30}, nil},
		"doubled":          {[]float64{10, 20, 30, 40, 50, 60}, map[string]bool{"memory": true, "open files": true}},
		"two files more":   {[]float64{10, 10, 10, 10, 11, 12}, map[string]bool{"memory": true}},
		"fewer":            {[]float64{60, 50, 40, 30, 20, 10}, nil},
		"too few to judge": {[]float64{10, 20, 30}, nil},
	} {
		r := soaking{soakCommand: &soakCommand{MaxGrowth: 0.1}}
		for _, q := range soak.Quantities() {
			var result report.Result
			r.grow(&result, q, []*soak.Watched{watched(c.values...)})
			if missed := len(result.Missed()) > 0; missed != c.missed[q.Name] {
				t.Errorf("%s: %s missed: %t", name, q.Name, missed)
			}
			switch q.Name {
			case "memory", "open files", "disk":
				if len(result.Plots) != 1 || len(result.Plots[0].Series[0].X) != len(c.values) || (len(result.Tables) == 1) != (len(c.values) >= 4) {
					t.Errorf("%s: of %s: %+v", name, q.Name, result)
				}
			default: // nothing was seen of it
				if len(result.Plots) != 0 || len(result.Tables) != 0 || len(result.Verdicts) != 0 {
					t.Errorf("%s: of %s: %+v", name, q.Name, result)
				}
			}
		}
	}
}
