package node

import (
	"errors"
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/sidecar/internal/clock"
	"github.com/revocast/revocast/sidecar/internal/denylist"
)

// registerDenylist exports how large the denylist is, and whether its disk works.
func registerDenylist(metrics prometheus.Registerer, d *denylist.Denylist, budget int64) error {
	var errs []error
	for _, g := range []struct {
		name, help string
		value      func(denylist.Status) float64
	}{
		{"revocast_sidecar_denylist_narrow_entries", "Revoked tokens and sessions in the index.", func(s denylist.Status) float64 { return float64(s.Narrow) }},
		{"revocast_sidecar_denylist_queued_entries", "Entries enforced from memory that are not on disk yet.", func(s denylist.Status) float64 { return float64(s.Queued) }},
		{"revocast_sidecar_denylist_index_bytes", "Memory of the index.", func(s denylist.Status) float64 { return float64(s.IndexBytes) }},
		{"revocast_sidecar_denylist_memory_bytes", "Memory of the whole denylist.", func(s denylist.Status) float64 { return float64(s.MemoryBytes) }},
		{"revocast_sidecar_denylist_index_complete", "0 while the index is being filled from disk.", func(s denylist.Status) float64 { return oneIf(s.Complete) }},
		{"revocast_sidecar_denylist_rebuilding", "1 while what the store has lost is being brought again by the feed.", func(s denylist.Status) float64 { return oneIf(s.Rebuilding) }},
		{"revocast_sidecar_denylist_disk_failing", "1 while the store cannot be written or read.", func(s denylist.Status) float64 { return oneIf(s.DiskErr != nil) }},
		{"revocast_sidecar_memory_budget_bytes", "The memory budget for denylist and token cache; 0 for none.", func(denylist.Status) float64 { return float64(budget) }},
		{"revocast_sidecar_memory_over_budget", "1 while the denylist takes more than its budget. Nothing is forgotten for it.", func(s denylist.Status) float64 { return oneIf(s.OverBudget) }},
	} {
		errs = append(errs, metrics.Register(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: g.name, Help: g.help}, func() float64 { return g.value(d.Status()) },
		)))
	}
	return errors.Join(errs...)
}

// registerView exports how old the view is and what follows from it.
func (n *Node) registerView() error {
	age := func() float64 {
		now := clock.Now()
		asOf, _, _ := n.Freshness(now)
		if asOf.IsZero() {
			return math.Inf(1)
		}
		return now.Sub(asOf).Seconds()
	}
	var errs []error
	for _, g := range []struct {
		name, help string
		value      func() float64
	}{
		{"revocast_sidecar_view_age_seconds", "How long ago the view of revocations was last proved complete; +Inf for never.", age},
		{"revocast_sidecar_view_stale", "1 while that is longer ago than stale-after.", func() float64 { return oneIf(age() >= n.cfg.Policy.StaleAfter.Seconds()) }},
		{"revocast_sidecar_ready", "1 while this sidecar may be sent requests: what readyz says.", func() float64 { return oneIf(n.Unready() == nil) }},
	} {
		errs = append(errs, n.metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, g.value)))
	}
	return errors.Join(errs...)
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
