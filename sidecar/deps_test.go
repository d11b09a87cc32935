package sidecar_test

import (
	"testing"

	"github.com/revocast/revocast/events/eventstest/depstest"
)

// TestDependencies keeps the sidecar small and its arrows going one way. It runs
// beside every API pod: what it links, every pod pays for.
func TestDependencies(t *testing.T) {
	const (
		root     = "github.com/revocast/revocast"
		sidecar  = root + "/sidecar"
		internal = sidecar + "/internal"
		contract = root + "/events"
	)

	kits := []string{internal + "/denylist/denylisttest", internal + "/front/fronttest", internal + "/token/tokentest", internal + "/verifytest"}
	depstest.Check(t, ".", []depstest.Ban{
		{
			Reason: "sidecar and issuer meet only in events",
			Of:     []string{sidecar + "/..."},
			Not:    []string{root + "/services/...", root + "/loadtest/..."},
		},
		{
			Reason: "a sidecar follows a broker and never carries one",
			Of:     []string{sidecar + "/..."},
			Not:    []string{"github.com/nats-io/nats-server/v2/...", contract + "/provision"},
		},
		{
			Reason: "what serves tests does not ship",
			Of:     []string{sidecar + "/..."},
			Except: kits,
			Not:    append([]string{"testing", "pgregory.net/rapid", contract + "/eventstest/..."}, kits...),
		},
		{
			Reason:  "pure packages decide and do nothing else, so that a test can try every case",
			Of:      []string{internal + "/gate", internal + "/replica"},
			StdOnly: true,
			Allow:   []string{contract, contract + "/claims", contract + "/subject"},
		},
		{
			Reason: "pure packages do no I/O, wait for nothing and take time and randomness as arguments",
			Of:     []string{internal + "/gate", internal + "/replica"},
			Not:    []string{"context", "crypto/rand", "log/...", "math/rand/...", "net/...", "os/...", "syscall"},
			Direct: true,
		},
		{
			Reason: "only badgerstore knows what the disk is",
			Of:     []string{sidecar + "/..."},
			Except: []string{internal + "/denylist/badgerstore"},
			Not:    []string{"github.com/dgraph-io/badger/v4"},
			Direct: true,
		},
		{
			Reason: "only adapters talk to the broker",
			Of:     []string{sidecar + "/..."},
			Except: []string{internal + "/app", internal + "/syncer"},
			Not:    []string{"github.com/nats-io/nats.go/..."},
			Direct: true,
		},
		{
			Reason: "gRPC is one way to be asked, and stays where it is",
			Of:     []string{sidecar + "/..."},
			Except: []string{internal + "/front/extauthz", internal + "/front/grpccode", sidecar + "/verify/grpcmw"},
			Not:    []string{"google.golang.org/grpc/...", "github.com/envoyproxy/..."},
			Direct: true,
		},
		{
			Reason: "golang-jwt is not strict enough to be met without the filter in front of it",
			Of:     []string{sidecar + "/..."},
			Except: []string{internal + "/token", internal + "/token/tokentest"},
			Not:    []string{"github.com/golang-jwt/jwt/v5/..."},
			Direct: true,
		},
		{
			Reason: "fronts ask one question, of the verifier, so that all of them get one answer",
			Of:     []string{internal + "/front/..."},
			Not:    []string{internal + "/denylist/...", internal + "/replica", internal + "/syncer"},
			Direct: true,
		},
		{
			Reason: "app imports everything, so only the command may import it",
			Of:     []string{internal + "/...", sidecar + "/verify/..."},
			Not:    []string{internal + "/app"},
			Direct: true,
		},
	})
}
