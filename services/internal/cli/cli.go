// Package cli is the revocast command: what people type to try Revocast, to log in
// and out, to revoke, and to see what happens. It speaks to issuers and sidecars
// only through their documented HTTP interfaces and to the broker only through
// package events/client, so it is also a check that these suffice.
//
// Invariants:
//
//   - No token and no password is taken from an argument, where other users of the
//     machine and the shell's history would see it. They come from files, from
//     standard input, from the environment or from a prompt without echo.
//   - Credentials are not sent over plain HTTP except to this machine.
//   - Exit status 0 means that what was asked has been done, 1 that it was refused
//     or failed, 2 that it was not understood and nothing was tried.
//   - Text from elsewhere cannot steer the terminal: what does not print is shown
//     as an escape.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// Exit statuses.
const (
	exitDone = iota
	exitRefused
	exitUsage
)

// Streams are the standard streams. Only an Out that is a terminal gets colours.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// grammar is the command line: kong reads the tags.
type grammar struct {
	Output  string           `short:"o" enum:"table,json" default:"table" placeholder:"table|json" help:"How to print: table or json."`
	Version kong.VersionFlag `env:"-" help:"Print the version and exit."`

	IssuerURL      string `group:"where" placeholder:"URL" help:"The issuer. Default: the one a login was saved from, else ${issuer_url}."`
	AdminURL       string `group:"where" placeholder:"URL" default:"${admin_url}" help:"The issuer's admin listener (${default})."`
	AdminTokenFile string `group:"where" placeholder:"FILE" help:"File with an operator token, for what operators do. An issuer makes the first: admin.token in its data directory."`
	AdminCA        string `group:"where" name:"admin-ca" env:"REVOCAST_ADMIN_CA" placeholder:"FILE" help:"Authority, PEM, that the admin listener's certificate is from, where not one of the system's."`
	AdminCert      string `group:"where" placeholder:"FILE" help:"Client certificate, PEM, of an operator who has one instead of a token."`
	AdminKey       string `group:"where" placeholder:"FILE" help:"Its key, PEM."`
	SidecarURL     string `group:"where" placeholder:"URL" help:"A sidecar (${sidecar_url}); for explain, doctor and fsck its admin listener (${sidecar_admin_url})."`
	AllowPlainHTTP bool   `group:"where" name:"allow-plain-http" help:"Send credentials over plain HTTP to other machines too."`

	Demo demoCommand `cmd:"" group:"try" help:"Run the whole story on real processes, measured, and leave nothing behind."`
	Dev  devCommand  `cmd:"" group:"try" help:"Run an issuer and two sidecars on the usual ports until Ctrl-C."`

	SampleAPI sampleCommand `cmd:"" name:"sample-api" group:"try" help:"Run an API that answers with who asks, to put behind a proxy."`

	Login   loginCommand   `cmd:"" group:"user" help:"Log in with a password."`
	Refresh refreshCommand `cmd:"" group:"user" help:"Exchange a refresh token for new tokens."`
	Verify  verifyCommand  `cmd:"" group:"user" help:"Ask a sidecar whether a token passes."`
	Explain explainCommand `cmd:"" group:"user" help:"Ask a sidecar why a token passes or not, entry by entry."`
	Doctor  doctorCommand  `cmd:"" group:"user" help:"Ask a sidecar which trust rule takes a token, what can revoke it, and what is missing."`
	Logout  logoutCommand  `cmd:"" group:"user" help:"End the session that a token belongs to."`

	Sessions sessionsCommand `cmd:"" group:"operator" help:"List who is logged in where: your own sessions or a subject's."`
	Revoke   revokeCommand   `cmd:"" group:"operator" help:"Deny a token, a session, a subject and more, everywhere at once."`
	Lift     liftCommand     `cmd:"" group:"operator" help:"Take a revocation back."`
	Users    usersCommand    `cmd:"" group:"operator" help:"Make users, disable them, change their roles or password."`
	Clients  clientsCommand  `cmd:"" group:"operator" help:"List clients, disable them and enable them again."`
	Fleet    fleetCommand    `cmd:"" group:"operator" help:"List the sidecars and how far each enforces the feed."`
	Watch    watchCommand    `cmd:"" group:"operator" help:"Follow revocations and other events as they happen."`

	Fsck fsckCommand `cmd:"" group:"operator" help:"Have a sidecar compare what it has on disk with the feed."`

	Revocations revocationsCommand `cmd:"" group:"operator" help:"List what is being denied now."`
	Audit       auditCommand       `cmd:"" group:"operator" help:"List what happened, or say whether a token would have passed at some moment."`
	Operators   operatorsCommand   `cmd:"" group:"operator" help:"Say who may use the admin API."`
	Keys        keysCommand        `cmd:"" group:"operator" help:"List and rotate the issuers' keys; deny a stolen one."`
}

const description = `Revocast makes JWT access tokens revocable without asking anyone.

Start here:

  revocast demo     the story in a few seconds: log in, 200, revoke, 401
  revocast dev      the same processes to play with, and lines to paste

Every flag can be set by the environment too: --admin-url is REVOCAST_ADMIN_URL.
Tokens come from files or standard input, never from arguments.`

// Run runs the command line args (without the program's name) and returns the exit
// status. It returns early, having cleaned up, when ctx ends.
func Run(ctx context.Context, args []string, streams Streams, version string) int {
	var g grammar
	parser, err := kong.New(&g,
		kong.Name("revocast"), kong.Description(description), kong.DefaultEnvars("REVOCAST"),
		kong.Writers(streams.Out, streams.Err),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100, Compact: true, FlagsLast: true, NoAppDescFormat: true}),
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }),
		kong.ExplicitGroups([]kong.Group{
			{Key: "try", Title: "Try it:"},
			{Key: "user", Title: "Be a user:"},
			{Key: "operator", Title: "Be an operator:"},
			{Key: "where", Title: "Where things are:"},
		}),
		kong.Vars{
			"version": version, "issuer_url": defaultIssuerURL,
			"admin_url": "http://127.0.0.1:8081", "sidecar_url": defaultSidecarURL, "sidecar_admin_url": defaultSidecarAdminURL,
		},
	)
	if err != nil {
		return report(streams.Err, fmt.Errorf("building the command line: %w", err))
	}
	parsed, err := parser.Parse(args)
	if p, ok := errors.AsType[*kong.ParseError](err); ok && len(args) == 0 {
		return report(streams.Err, errors.Join(usage(err), p.Context.PrintUsage(false)))
	}
	if err != nil {
		return report(streams.Err, usage(err))
	}
	t := newTerminal(streams, g.Output == "json")
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err = parsed.Run(&g, t); err == nil {
		err = t.failed
	}
	return report(streams.Err, err)
}

// usageError is a command line that was not understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error { return usageError{err} }

func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	_, _ = fmt.Fprintf(w, "revocast: %s\n", printable(err.Error())) // there is nowhere left to complain
	if _, ok := errors.AsType[usageError](err); ok {
		_, _ = fmt.Fprintln(w, "revocast: try --help")
		return exitUsage
	}
	return exitRefused
}
