package spread_test

import (
	"testing"

	"github.com/revocast/revocast/sidecar/internal/proof/spread"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   string
	}{
		{nil, "0.00"},
		{[]float64{1.004}, "1.00"},
		{[]float64{3, 1, 2}, "2.00 (1.00–3.00)"},
		{[]float64{4, 1, 30, 2}, "4.00 (1.00–30.0)"},
		{[]float64{1234.4, 99.96, 100}, "100 (100.0–1234)"},
		{[]float64{-20, 0.126, 0.125}, "0.12 (-20.0–0.13)"},
	} {
		values := append([]float64{}, c.values...)
		if got := spread.Of(c.values).String(); got != c.want {
			t.Errorf("spread of %v is %q, want %q", c.values, got, c.want)
		}
		for i := range values {
			if c.values[i] != values[i] {
				t.Errorf("%v has become %v", values, c.values)
			}
		}
	}
}

func TestTable(t *testing.T) {
	got := spread.Table([]string{"what", "µs"}, [][]string{{"a", "100"}, {"bcdef", "1"}})
	want := "| what  | µs  |\n|-------|-----|\n| a     | 100 |\n| bcdef | 1   |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
