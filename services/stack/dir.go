package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/revocast/revocast/services/internal/clients"
)

// What a development stack knows from the start. The secrets are printed in the
// documentation: they protect nothing.
const (
	Audience = "https://api.revocast.test"
	Realm    = "default"

	Alice         = "alice"
	AlicePassword = "wonderland-42"
	Bob           = "bob"
	BobPassword   = "builder-42"

	// MobileClient is public and may use first-party login.
	MobileClient = "demo-mobile"
	// WebClient is public and uses the authorization code with PKCE.
	WebClient = "demo-web"
	// ServiceClient is confidential, for client credentials and introspection.
	ServiceClient       = "demo-service"
	ServiceClientSecret = "demo-service-secret"
)

// Dir is the directory of a stack and knows what lies where in it.
type Dir string

func (d Dir) join(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// Clients is the clients file.
func (d Dir) Clients() string { return d.join("clients.yaml") }

// Users is the file of bootstrap users.
func (d Dir) Users() string { return d.join("users.yaml") }

// Keys is the directory of signing keys and of the broker's authority.
func (d Dir) Keys() string { return d.join("keys") }

// Creds is the directory of NATS credentials, one file a role.
func (d Dir) Creds() string { return d.join("creds") }

// Credentials is the NATS credentials file of a role: "issuer", "sidecar",
// "subscriber" or "operator".
func (d Dir) Credentials(role string) string { return d.join("creds", role+".creds") }

// AdminToken is the file with the operator token made on first start.
func (d Dir) AdminToken() string { return d.join("admin.token") }

// RealmRoot is the public key that sidecars pin.
func (d Dir) RealmRoot() string { return d.join("realm-root.pub") }

// data is the data directory of the named server. The first issuer's is plain
// "data", as in the documentation.
func (d Dir) data(name string) string {
	if name == "issuer" {
		return d.join("data")
	}
	return d.join(name)
}

// Log is what the named server wrote.
func (d Dir) Log(name string) string { return d.join("logs", name+".log") }

// seed makes the directory (0700) with its clients and users files. Files that are
// there already stay, for whoever edited them.
func (d Dir) seed() error {
	for _, dir := range []string{string(d), d.join("logs"), d.join("tmp")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making %s: %w", dir, err)
		}
	}
	return errors.Join(writeNew(d.Clients(), clientsFile()), writeNew(d.Users(), usersFile()))
}

func writeNew(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // below the directory that was asked for
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// pinRealmRoot copies the realm's public root key from where the issuer put it to
// where sidecars look for it.
func (d Dir) pinRealmRoot() error {
	from := d.join("keys", "realm-root.pub")
	key, err := os.ReadFile(from) //nolint:gosec // below the directory that was asked for
	if err != nil {
		return fmt.Errorf("reading the realm's root key: %w", err)
	}
	if err := os.WriteFile(d.RealmRoot(), key, 0o644); err != nil { //nolint:gosec // a public key, for whoever runs a sidecar
		return fmt.Errorf("writing %s: %w", d.RealmRoot(), err)
	}
	return nil
}

func clientsFile() string {
	return strings.NewReplacer(
		"$AUDIENCE", Audience, "$MOBILE", MobileClient, "$WEB", WebClient,
		"$SERVICE", ServiceClient, "$HASH", clients.HashSecret(ServiceClientSecret),
	).Replace(`# The clients of the development stack.
clients:
  - id: $MOBILE
    type: public
    grants: [refresh_token]
    first_party_login: true
    scopes: [read, write]
    audiences: ["$AUDIENCE"]

  - id: $WEB
    type: public
    grants: [authorization_code, refresh_token]
    redirect_uris: ["http://127.0.0.1:8090/callback"]
    scopes: [read, write]
    audiences: ["$AUDIENCE"]

  - id: $SERVICE
    type: confidential
    secret_hash: "$HASH"
    grants: [client_credentials]
    introspection: true
    scopes: [read, write]
    audiences: ["$AUDIENCE"]
`)
}

func usersFile() string {
	return strings.NewReplacer(
		"$ALICE", Alice, "$WONDERLAND", AlicePassword, "$BOB", Bob, "$BUILDER", BobPassword,
	).Replace(`# The users of the development stack. Real ones have a password_hash.
users:
  - username: $ALICE
    password: $WONDERLAND
    roles: [reader, writer]

  - username: $BOB
    password: $BUILDER
    roles: [reader]
`)
}
