package measure_test

import (
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
)

func objective(t *testing.T, text string) measure.Objective {
	t.Helper()
	var o measure.Objective
	if err := o.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return o
}

// A hundred requests: 1 ms, 2 ms, … 100 ms; one of them answered 503.
func hundred() measure.Summary {
	r := measure.New(noon)
	for i := range 100 {
		status := 200
		if i == 0 {
			status = 503
		}
		r.Record(answered(status, 0, time.Duration(i+1)*time.Millisecond))
	}
	return r.Summary()
}

func TestObjectives(t *testing.T) {
	s := hundred()
	for text, kept := range map[string]bool{
		"p50<51ms": true, "p50<49ms": false, "p99<=100ms": true, "p99<99ms": false,
		"p99.9<101ms": true, "p0.5<2ms": true, "max<101ms": true, "max<100ms": false,
		"mean<51ms": true, "mean<50ms": false, " p50 < 51ms ": true,
		"errors<=1%": true, "errors<1%": false, "errors<1.1%": true, "errors<=0%": false,
	} {
		if v := objective(t, text).Judge(s); v.Kept != kept {
			t.Errorf("%s: kept is %t at %s", text, v.Kept, v.Value)
		}
	}
	if v := measure.NoErrors().Judge(s); v.Kept || v.Value != "1%" {
		t.Errorf("%+v", v)
	}
}

func TestNothingMeasuredKeepsNothing(t *testing.T) {
	empty := measure.New(noon).Summary()
	refused := measure.New(noon)
	refused.Record(failed(measure.Connection, 0, 0))
	for _, text := range []string{"p99<1m", "max<1m", "mean<1m"} {
		for _, s := range []measure.Summary{empty, refused.Summary()} {
			if v := objective(t, text).Judge(s); v.Kept {
				t.Errorf("%s kept by nothing: %+v", text, v)
			}
		}
	}
	if v := objective(t, "errors<=100%").Judge(empty); v.Kept {
		t.Errorf("%+v", v)
	}
	if empty.ErrorShare() != 1 {
		t.Errorf("the share of errors in nothing is %v", empty.ErrorShare())
	}
	if v := (measure.Objective{}).Judge(hundred()); v.Kept {
		t.Errorf("the zero objective: %+v", v)
	}
}

func TestObjectivesThatAreNone(t *testing.T) {
	for _, text := range []string{
		"", "p99", "p99<", "p99<5", "p99<-5ms", "p99<0s", "p99>5ms", "p0<5ms", "p100<5ms", "pNaN<5ms", "p<5ms", "99<5ms",
		"p99<<5ms", "P99<5ms", "max<5%", "errors<5ms", "errors<0.1", "errors<0%", "errors<-1%", "errors<101%", "errors<NaN%", "latency<5ms", "max<2m",
	} {
		var o measure.Objective
		if err := o.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
		if o != (measure.Objective{}) {
			t.Errorf("%q left %+v", text, o)
		}
	}
}
