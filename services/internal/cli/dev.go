package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/revocast/revocast/services/stack"
)

type devCommand struct {
	binaries

	DataDir string `placeholder:"DIR" help:"Keep everything here; default: a temporary directory, removed at the end."`
}

func (*devCommand) Help() string {
	return `Issuer on 8080 (operators on 8081, metrics on 8082) with its embedded broker on 4222, sidecars on 9470 and 9480 (for Envoy on 9471 and 9481, their admin listeners on 9472 and 9482), all on 127.0.0.1. Everything lies in one directory: clients.yaml, users.yaml, keys/, admin.token, realm-root.pub, creds/, logs/.

Examples:

  revocast dev
  revocast dev --data-dir ./dev
`
}

// devPorts are where the documentation and every example expect things.
func devPorts() (issuer stack.Ports, sidecars []stack.Ports) {
	return stack.Ports{HTTP: 8080, Admin: 8081, Metrics: 8082, NATS: 4222}, []stack.Ports{
		{HTTP: 9470, GRPC: 9471, Admin: 9472},
		{HTTP: 9480, GRPC: 9481, Admin: 9482},
	}
}

func (c *devCommand) Run(ctx context.Context, t *terminal) (err error) {
	bin, err := c.dir()
	if err != nil {
		return err
	}
	dir := c.DataDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "revocast-dev-"); err != nil {
			return fmt.Errorf("making a temporary directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	issuer, sidecars := devPorts()
	s, err := c.start(ctx, stack.Config{
		Dir: dir, BinDir: bin, Sidecars: len(sidecars), IssuerPorts: issuer, SidecarPorts: sidecars,
	})
	if err != nil {
		return fmt.Errorf("starting the development stack: %w", err)
	}
	defer func() { err = errors.Join(err, s.Stop(context.WithoutCancel(ctx))) }()
	if err := describe(t, s); err != nil {
		return err
	}
	return stayUp(ctx, s)
}

func (c *devCommand) start(ctx context.Context, cfg stack.Config) (*stack.Stack, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return stack.Start(ctx, cfg)
}

// stayUp returns when ctx ends, without an error, or when a server does.
func stayUp(ctx context.Context, s *stack.Stack) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watching sync.WaitGroup
	for _, srv := range s.Servers() {
		watching.Go(func() {
			select {
			case <-srv.Done():
				cancel(fmt.Errorf("%s ended by itself: %w", srv.Name, srv.EndedBy()))
			case <-ctx.Done():
			}
		})
	}
	watching.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// describe prints where everything is and lines to paste.
func describe(t *terminal, s *stack.Stack) error {
	d, sidecars := s.Dir(), s.Sidecars()
	if t.json {
		return errors.Join(t.printJSON(map[string]any{
			"dir": string(d), "issuer_url": s.Issuer().URL(), "admin_url": s.Issuer().AdminURL(),
			"admin_token_file": d.AdminToken(), "nats_url": s.BrokerURL(), "audience": stack.Audience,
			"sidecar_urls": []string{sidecars[0].URL(), sidecars[1].URL()},
			"sidecar_grpc": []string{sidecars[0].GRPCAddress(), sidecars[1].GRPCAddress()},
		}), t.failed)
	}
	t.printf("%s\n\n", t.paint(bold, "Revocast's development stack is ready. Ctrl-C stops it."))
	t.table(
		[]string{"issuer", s.Issuer().URL(), "operators: " + s.Issuer().AdminURL()},
		[]string{"broker", s.BrokerURL(), "credentials: " + d.Creds()},
		[]string{"sidecar-1", sidecars[0].URL(), "gRPC: " + sidecars[0].GRPCAddress() + ", admin: " + sidecars[0].AdminURL()},
		[]string{"sidecar-2", sidecars[1].URL(), "gRPC: " + sidecars[1].GRPCAddress() + ", admin: " + sidecars[1].AdminURL()},
		[]string{"users", stack.Alice + " / " + stack.AlicePassword, stack.Bob + " / " + stack.BobPassword},
		[]string{"files", string(d), ""},
	)
	t.printf("\n%s\n\n%s", t.paint(dim, "# Paste into another shell, from top to bottom:"), pasteLines(s))
	return t.failed
}

// pasteLines are commands for a POSIX shell that work as they stand. Their last ones
// need bin/revocast and run until stopped.
func pasteLines(s *stack.Stack) string {
	self, err := os.Executable()
	if err != nil {
		self = "revocast"
	}
	d, sidecars := s.Dir(), s.Sidecars()
	return strings.NewReplacer(
		"{ISSUER}", s.Issuer().URL(), "{ADMIN}", s.Issuer().AdminURL(),
		"{SIDECAR1}", sidecars[0].URL(), "{SIDECAR2}", sidecars[1].URL(),
		"{USER}", stack.Alice, "{PASSWORD}", stack.AlicePassword, "{CLIENT}", stack.MobileClient,
		"{FILE_ADMIN}", quote(d.AdminToken()), "{FILE_CREDS}", quote(d.Credentials("subscriber")),
		"{NATS}", s.BrokerURL(), "{REVOCAST}", quote(self),
	).Replace(`# log in, and take the answer apart
LOGIN=$(curl -sS {ISSUER}/v1/login -H 'Content-Type: application/json' \
  -d '{"username":"{USER}","password":"{PASSWORD}","client_id":"{CLIENT}"}')
field() { printf %s "$LOGIN" | sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p'; }
ACCESS=$(field access_token) REFRESH=$(field refresh_token) SID=$(field session_id)

# both sidecars let it through: 200
curl -si {SIDECAR1}/auth -H "Authorization: Bearer $ACCESS"
curl -si {SIDECAR2}/auth -H "Authorization: Bearer $ACCESS"

# revoke the session
curl -sS {ADMIN}/admin/v1/revocations -H "Authorization: Bearer $(cat {FILE_ADMIN})" \
  -H 'Content-Type: application/json' -d '{"kind":"session","id":"'"$SID"'","reason":"lost_device"}'

# both sidecars turn it away: 401 invalid_token; and it cannot be refreshed: invalid_grant
curl -si {SIDECAR1}/auth -H "Authorization: Bearer $ACCESS"
curl -si {SIDECAR2}/auth -H "Authorization: Bearer $ACCESS"
curl -sS {ISSUER}/oauth/token -d grant_type=refresh_token -d client_id={CLIENT} -d refresh_token="$REFRESH"

# see what has happened, and what will
{REVOCAST} watch --nats-url {NATS} --nats-creds {FILE_CREDS} --from beginning
`)
}

// quote makes one word of a path in a POSIX shell.
func quote(path string) string {
	harmless := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:@%,", r)
	}
	if strings.TrimLeftFunc(path, harmless) == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
