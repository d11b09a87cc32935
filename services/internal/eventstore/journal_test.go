package eventstore_test

import (
	"testing"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/eventstest/logsuite"
	"github.com/revocast/revocast/events/topology"
	"github.com/revocast/revocast/services/internal/eventstore"
)

func TestJournalOnOneServer(t *testing.T) {
	s := eventstest.RunServer(t)
	logsuite.Run(t, func(t *testing.T) logsuite.Log {
		t.Helper()
		return open(t, s)
	})
}

func open(t *testing.T, s *eventstest.Server) *eventstore.Journal {
	t.Helper()
	j, err := eventstore.NewJournal(s.Connect(t, topology.Issuer), logsuite.Realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	return j
}
