package verifytest

import (
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/route"
)

// Realm is what the challenges of [Rig.Checker] name.
const Realm = "orders"

// Checker answers requests by the rig's verifier under rules.
func (r *Rig) Checker(t testing.TB, rules ...route.Rule) *front.Checker {
	t.Helper()
	routes, err := route.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	c, err := front.NewChecker(front.Config{Realm: Realm, Routes: routes, Within: 5 * time.Second, MaxInFlight: 100}, r.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
