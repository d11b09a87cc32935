package scenario

import (
	"net/http"
	"testing"
	"time"
)

// What is right for a token that is revoked depends on when the request was sent and
// answered, and on nothing else.
func TestJudge(t *testing.T) {
	const pass, bound = http.StatusOK, time.Second
	at := func(ms int) time.Time { return time.Unix(1_800_000_000, 0).Add(time.Duration(ms) * time.Millisecond) }
	asked, receipt := at(100), at(200)
	revoked, waiting := new(Fate), new(Fate)
	revoked.asked.Store(&asked)
	revoked.receipt.Store(&receipt)
	waiting.asked.Store(&asked)
	for name, c := range map[string]struct {
		known              Known
		sent, done, status int
		want               int
		exposed            time.Duration
	}{
		"a good token passes":              {Known{Class: Good, Fate: new(Fate)}, 0, 1, 200, 200, 0},
		"a good token is refused":          {Known{Class: Good, Fate: new(Fate)}, 0, 1, 401, 200, 0},
		"a good token cannot be judged":    {Known{Class: Good}, 0, 1, 503, 200, 0},
		"a cold token is refused":          {Known{Class: Cold}, 0, 1, 401, 200, 0},
		"a revoked token passes":           {Known{Class: Revoked}, 0, 1, 200, 401, 0},
		"garbage passes":                   {Known{Class: Garbage}, 0, 1, 200, 401, 0},
		"refused before it was asked for":  {Known{Class: Good, Fate: revoked}, 90, 99, 401, 200, 0},
		"passed before it was asked for":   {Known{Class: Good, Fate: revoked}, 90, 99, 200, 200, 0},
		"refused while it is asked for":    {Known{Class: Good, Fate: revoked}, 90, 101, 401, 401, 0},
		"passed while it is asked for":     {Known{Class: Good, Fate: revoked}, 150, 160, 200, 200, 0},
		"refused, never acknowledged":      {Known{Class: Good, Fate: waiting}, 9000, 9001, 401, 401, 0},
		"passed, never acknowledged":       {Known{Class: Good, Fate: waiting}, 9000, 9001, 200, 200, 0},
		"sent before the receipt":          {Known{Class: Good, Fate: revoked}, 199, 250, 200, 200, 0},
		"passed after the receipt":         {Known{Class: Good, Fate: revoked}, 203, 250, 200, 200, 3 * time.Millisecond},
		"passed long after the receipt":    {Known{Class: Good, Fate: revoked}, 1201, 1202, 200, 401, 1001 * time.Millisecond},
		"refused long after the receipt":   {Known{Class: Good, Fate: revoked}, 1201, 1202, 401, 401, 0},
		"no judgement after the receipt":   {Known{Class: Good, Fate: revoked}, 1201, 1202, 503, 401, 0},
		"no judgement of a revoked token":  {Known{Class: Revoked}, 0, 1, 503, 401, 0},
		"exactly at the end of the bound":  {Known{Class: Good, Fate: revoked}, 1200, 1202, 200, 200, time.Second},
		"exactly with the receipt, passed": {Known{Class: Good, Fate: revoked}, 200, 201, 200, 200, 0},
	} {
		got := c.known.Judge(at(c.sent), at(c.done), c.status, pass, bound)
		if got != (Verdict{c.want, c.exposed}) {
			t.Errorf("%s: %+v, want %d, exposed %s", name, got, c.want, c.exposed)
		}
	}
}

func TestTally(t *testing.T) {
	var one, two, all Tally
	one.Count(Good, 200, 200, Verdict{Want: 200})
	one.Count(Good, 200, 200, Verdict{Want: 200, Exposed: time.Millisecond})
	one.Count(Revoked, 200, 200, Verdict{Want: 401})
	two.Count(Cold, 401, 200, Verdict{Want: 200})
	two.Count(Cold, 403, 200, Verdict{Want: 200})
	two.Count(Cold, 503, 200, Verdict{Want: 200}) // an error, and no verdict
	two.Count(Good, 200, 200, Verdict{Want: 401, Exposed: time.Second})
	two.Exhausted = true
	all.Add(one)
	all.Add(two)
	want := Tally{Asked: [classes]int64{Good: 3, Cold: 3, Revoked: 1}, LetThrough: 2, TurnedAway: 2, Exposed: 2, Worst: time.Second, Exhausted: true}
	if all != want {
		t.Errorf("%+v, want %+v", all, want)
	}
}

// What was asked for and acknowledged counts from then on.
func TestFate(t *testing.T) {
	k := Known{Class: Good, Fate: new(Fate)}
	judge := func() Verdict { return k.Judge(time.Now(), time.Now().Add(time.Millisecond), 200, 200, 0) }
	if v := judge(); v.Want != 200 || v.Exposed != 0 {
		t.Errorf("before: %+v", v)
	}
	k.Fate.Ask()
	if v := judge(); v.Want != 200 || v.Exposed != 0 {
		t.Errorf("asked for: %+v", v)
	}
	k.Fate.Acknowledge()
	if v := judge(); v.Want != 401 || v.Exposed <= 0 {
		t.Errorf("acknowledged: %+v", v)
	}
}
