package services_test

import (
	"testing"

	"github.com/revocast/revocast/events/eventstest/depstest"
)

// TestDependencies keeps the issuer's arrows going one way and its command-line
// tool free of the broker that only the issuer embeds.
func TestDependencies(t *testing.T) {
	const (
		root     = "github.com/revocast/revocast"
		services = root + "/services"
		internal = services + "/internal"
		contract = root + "/events"
		server   = "github.com/nats-io/nats-server/v2/..."
	)

	depstest.Check(t, ".", []depstest.Ban{
		{
			Reason: "sidecar and issuer meet only in events",
			Of:     []string{services + "/..."},
			Not:    []string{root + "/sidecar/...", root + "/loadtest/..."},
		},
		{
			Reason: "an issuer keeps no state and no database",
			Of:     []string{services + "/..."},
			Not:    []string{"github.com/dgraph-io/badger/v4/..."},
		},
		{
			// Direct, because Prometheus's collectors know its types.
			Reason: "an issuer keeps no state and no database",
			Of:     []string{services + "/..."},
			Not:    []string{"database/sql"},
			Direct: true,
		},
		{
			Reason: "what serves tests does not ship",
			Of:     []string{services + "/..."},
			Not:    []string{"testing", "pgregory.net/rapid", contract + "/eventstest/..."},
		},
		{
			Reason: "only the issuer's embedded mode carries a broker",
			Of:     []string{services + "/..."},
			Except: []string{internal + "/broker"},
			Not:    []string{server},
			Direct: true,
		},
		{
			Reason: "the command-line tool starts an issuer as a process and never is one",
			Of:     []string{services + "/cmd/revocast"},
			Not:    []string{server, internal + "/app", internal + "/broker"},
		},
		{
			Reason:  "pure packages decide and do nothing else, so that a test can try every case",
			Of:      []string{internal + "/keyring", internal + "/session"},
			StdOnly: true,
			Allow:   []string{contract, contract + "/claims", contract + "/subject"},
		},
		{
			Reason: "pure packages do no I/O, wait for nothing and take time and randomness as arguments",
			Of:     []string{internal + "/keyring", internal + "/session"},
			Not:    []string{"context", "crypto/rand", "log/...", "math/rand/...", "net/...", "os/...", "syscall"},
			Direct: true,
		},
		{
			Reason: "only adapters talk to the broker",
			Of:     []string{services + "/..."},
			Except: []string{
				internal + "/app", internal + "/broker", internal + "/eventstore",
				internal + "/finisher", internal + "/fleet", internal + "/snapshot",
			},
			Not:    []string{"github.com/nats-io/nats.go/..."},
			Direct: true,
		},
		{
			Reason: "golang-jwt is not strict enough to be met without the filter in front of it",
			Of:     []string{services + "/..."},
			Except: []string{internal + "/dpop", internal + "/signals/backchannel", internal + "/signing"},
			Not:    []string{"github.com/golang-jwt/jwt/v5/..."},
			Direct: true,
		},
		{
			Reason: "app imports everything, so only the command may import it",
			Of:     []string{internal + "/..."},
			Not:    []string{internal + "/app"},
			Direct: true,
		},
	})
}
