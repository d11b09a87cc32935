package eventstest

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/revocast/revocast/events/natsauth"
	"github.com/revocast/revocast/events/provision"
	"github.com/revocast/revocast/events/topology"
)

// party is what all nodes of a cluster have in common: who may connect, and how.
type party struct {
	authority *natsauth.Authority
	topology  topology.Options
	keys      string
	creds     string
	secure    *tls.Config // of clients; nil for none
}

func newParty(t testing.TB, o topology.Options) party {
	t.Helper()
	keys := t.TempDir()
	authority, err := natsauth.LoadOrCreate(keys, o)
	if err != nil {
		t.Fatal(err)
	}
	creds := t.TempDir()
	if err := authority.WriteCredentials(creds); err != nil {
		t.Fatal(err)
	}
	return party{authority: authority, topology: o, keys: keys, creds: creds}
}

// Topology is what the streams and accounts are made from.
func (p party) Topology() topology.Options { return p.topology }

// Authority signs the accounts.
func (p party) Authority() *natsauth.Authority { return p.authority }

// Credentials is the path of a role's credentials file.
func (p party) Credentials(r topology.Role) string {
	return filepath.Join(p.creds, r.String()+".creds")
}

// Options are what a client of the role needs besides a URL.
func (p party) Options(r topology.Role) []nats.Option {
	options := []nats.Option{
		nats.UserCredentials(p.Credentials(r)),
		nats.CustomInboxPrefix(r.InboxPrefix()),
		nats.Name("test " + r.String()),
	}
	if p.secure != nil {
		options = append(options, nats.Secure(p.secure))
	}
	return options
}

func (p party) connect(t testing.TB, url string, r topology.Role, more []nats.Option) *nats.Conn {
	t.Helper()
	// The machine may be busy with other tests.
	nc, err := nats.Connect(url, append(append(p.Options(r), nats.Timeout(patience)), more...)...)
	if err != nil {
		t.Fatalf("connecting as %s: %v", r, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// superuser connects as a user of the account whom no permission holds back: what
// such a user cannot do, the account's walls prevent.
func (p party) superuser(t testing.TB, url string, a topology.Account) *nats.Conn {
	t.Helper()
	seed, err := os.ReadFile(filepath.Join(p.keys, "account-"+string(a)+".nk"))
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	id, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewUserClaims(id).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(url, nats.UserJWT(
		func() (string, error) { return token, nil },
		user.Sign,
	))
	if err != nil {
		t.Fatalf("connecting as superuser of %s: %v", a, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func (p party) provisioner(t testing.TB, url string) *provision.Realm {
	t.Helper()
	r, err := provision.New(p.connect(t, url, topology.Issuer, nil), p.topology)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (p party) provision(t testing.TB, url string) {
	t.Helper()
	r := p.provisioner(t, url)
	// A cluster that has just started refuses for a moment.
	Eventually(t, r.Ensure)
}

func (p party) waitReady(t testing.TB, url string) {
	t.Helper()
	r := p.provisioner(t, url)
	Eventually(t, r.Ready)
}

// Eventually calls check until it returns nil, and fails the test with its last
// error when it does not do so in time. Each call gets a few seconds: a request
// that a fail-over swallowed is never answered.
func Eventually(t testing.TB, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := once(ctx, check)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", patience, err)
		case <-tick.C:
		}
	}
}

func once(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	return check(ctx)
}
