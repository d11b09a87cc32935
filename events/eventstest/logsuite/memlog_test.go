package logsuite_test

import (
	"testing"

	"github.com/revocast/revocast/events/eventstest/logsuite"
	"github.com/revocast/revocast/events/memlog"
)

func TestMemlog(t *testing.T) {
	l := memlog.New(1_795_310_000_000_000, 16)
	logsuite.Run(t, func(*testing.T) logsuite.Log { return l })
}
