package replica_test

import (
	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/replica"
)

// loseDisk is a disk that begins anew beside a running sidecar.
func (w *world) loseDisk() {
	w.refusals = 0
	w.written, w.cursor = map[events.RevocationID]bool{}, replica.Cursor{}
	w.lost, w.lostAt = true, w.machine.State().FreshAsOf
	w.perform(w.machine.Restart())
}
