package node

import (
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/gate"
)

// Each reason not to be ready is said in words that help.
func TestUnreadyInWords(t *testing.T) {
	now := time.Now()
	for want, c := range map[string]struct {
		reason gate.Reason
		facts  gate.Facts
	}{
		"not caught up with the feed yet":                                    {gate.ReasonNotReady, gate.Facts{}},
		"the clock is -3s off the broker's":                                  {gate.ReasonClock, gate.Facts{Skew: -3 * time.Second, FreshAsOf: now}},
		"the clock has been set back: the view of revocations is 1m0s ahead": {gate.ReasonClock, gate.Facts{FreshAsOf: now.Add(time.Minute)}},
		"never proved complete":                                              {gate.ReasonStale, gate.Facts{}},
		"the view of revocations is 1m0s old":                                {gate.ReasonStale, gate.Facts{FreshAsOf: now.Add(-time.Minute)}},
		"a good token would not pass: lookup_failed":                         {gate.ReasonLookupFailed, gate.Facts{}},
	} {
		c.facts.Now = now
		if got := unreadyFor(c.reason, c.facts).Error(); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
