package depstest_test

import (
	"slices"
	"testing"

	"github.com/revocast/revocast/events/eventstest/depstest"
)

const (
	root     = "github.com/revocast/revocast"
	contract = root + "/events"
)

// TestEvents keeps the contract small: whoever imports it, in whatever program,
// gets no more than this.
func TestEvents(t *testing.T) {
	depstest.Check(t, "../..", []depstest.Ban{
		{
			Reason:  "the vocabulary must be usable anywhere, the pure packages included",
			Of:      []string{contract, contract + "/claims", contract + "/subject", contract + "/topology"},
			StdOnly: true,
		},
		{
			Reason:  "turning events into bytes takes Protocol Buffers and UUIDs, nothing else",
			Of:      []string{contract + "/codec", contract + "/memlog", contract + "/proto/..."},
			StdOnly: true,
			Allow: []string{
				contract, contract + "/claims", contract + "/subject", contract + "/topology",
				"github.com/google/uuid",
				"google.golang.org/protobuf/...",
			},
		},
		{
			Reason: "a subscriber must not carry a broker, a database or a test library in its binary",
			Of:     []string{contract + "/..."},
			Except: []string{contract + "/eventstest/..."},
			Not: []string{
				"github.com/nats-io/nats-server/v2/...",
				"github.com/dgraph-io/badger/v4/...",
				"pgregory.net/rapid",
				contract + "/eventstest/...",
				"testing",
			},
		},
	})
}

// TestNobodyAbove keeps the contract and its test kit from knowing their users.
func TestNobodyAbove(t *testing.T) {
	above := []string{root + "/services/...", root + "/sidecar/...", root + "/loadtest/..."}
	for _, dir := range []string{"../..", ".."} {
		depstest.Check(t, dir, []depstest.Ban{{
			Reason: "the contract knows none of its users",
			Of:     []string{contract + "/..."},
			Not:    above,
		}})
	}
}

func TestBroken(t *testing.T) {
	p := depstest.Package{
		ImportPath: "a.example/x/core",
		Imports:    []string{"fmt", "a.example/x/kin"},
		Deps:       []string{"fmt", "net/http", "a.example/x/kin", "b.example/broker/server"},
	}
	for name, c := range map[string]struct {
		ban  depstest.Ban
		want []string
	}{
		"what an import brings along": {
			ban:  depstest.Ban{Of: []string{"a.example/x/..."}, Not: []string{"b.example/broker/..."}},
			want: []string{"b.example/broker/server"},
		},
		"direct imports only": {
			ban: depstest.Ban{Of: []string{"a.example/x/core"}, Not: []string{"b.example/broker/server"}, Direct: true},
		},
		"a direct import": {
			ban:  depstest.Ban{Of: []string{"a.example/x/core"}, Not: []string{"a.example/x/kin"}, Direct: true},
			want: []string{"a.example/x/kin"},
		},
		"standard library by name": {
			ban:  depstest.Ban{Of: []string{"a.example/x/core"}, Not: []string{"net/..."}},
			want: []string{"net/http"},
		},
		"nothing but the standard library": {
			ban:  depstest.Ban{Of: []string{"a.example/x/core"}, StdOnly: true},
			want: []string{"a.example/x/kin", "b.example/broker/server"},
		},
		"nothing but that, kin and what is allowed": {
			ban: depstest.Ban{Of: []string{"a.example/x/..."}, StdOnly: true, Allow: []string{"b.example/broker/..."}},
		},
		"another package": {
			ban: depstest.Ban{Of: []string{"a.example/x"}, StdOnly: true},
		},
		"a longer name with the same beginning": {
			ban: depstest.Ban{Of: []string{"a.example/x/co/..."}, StdOnly: true},
		},
		"spared": {
			ban: depstest.Ban{Of: []string{"a.example/x/..."}, Except: []string{"a.example/x/core"}, StdOnly: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.ban.Broken(p); !slices.Equal(got, c.want) {
				t.Errorf("Broken = %q, want %q", got, c.want)
			}
		})
	}
}
