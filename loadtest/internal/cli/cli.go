// Package cli is the loadtest command.
//
// Invariants:
//
//   - No token is taken from an argument, where other users of the machine and the
//     shell's history would see it.
//   - Exit status 0 means that the load was sent and every objective kept, 1 that one
//     was missed or the run failed, 2 that the command was not understood and nothing
//     was sent.
//   - What was measured is shown, also when the run was interrupted or a file could
//     not be written.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit statuses.
const (
	exitDone = iota
	exitFailed
	exitUsage
)

// Streams are the standard streams. Results go to Out, all else to Err.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// grammar is the command line: kong reads the tags.
type grammar struct {
	Output  string           `short:"o" enum:"table,json" default:"table" placeholder:"table|json" help:"How to print the result: table or json."`
	Out     string           `placeholder:"DIR" help:"Write the result into this directory too: JSON, text, benchstat's format, and report.html of all results there."`
	Version kong.VersionFlag `env:"-" help:"Print the version and exit."`

	Verify verifyCommand `cmd:"" help:"Ask whether tokens pass, in every way that a sidecar can be asked, at a steady rate or as fast as it answers."`
	Issue  issueCommand  `cmd:"" help:"Log in, refresh and revoke at issuers, and ask every session in the end whether that is true."`
	Soak   soakCommand   `cmd:"" help:"Keep a local system under a mixed load for hours and see whether anything grows."`
	Report reportCommand `cmd:"" help:"Show results again, runs that repeat one another as samples of one, and make the page of them."`
	Diff   diffCommand   `cmd:"" help:"Compare the results of two runs."`
}

const description = `Measures Revocast under load: requests arrive at moments drawn beforehand, whether or not the answers keep up, and latency counts from those moments.

Start here:

  loadtest verify --local                      a system of its own, on this machine
  loadtest verify --url URL < tokens           a sidecar that runs already
  loadtest issue                               logins, refreshes, revocations
  loadtest soak                                an hour of everything

Every flag can be set by the environment too: --rate is REVOCAST_RATE.
Tokens come from a file or standard input, never from arguments.`

// Run runs the command line args (without the program's name) and returns the exit
// status. When ctx ends, it reports what was measured by then.
func Run(ctx context.Context, args []string, streams Streams, version string) int {
	var g grammar
	parser, err := kong.New(&g,
		kong.Name("loadtest"), kong.Description(description), kong.DefaultEnvars("REVOCAST"),
		kong.Writers(streams.Out, streams.Err),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100, Compact: true, FlagsLast: true, NoAppDescFormat: true}),
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }),
		kong.ExplicitGroups([]kong.Group{
			{Key: "target", Title: "What to ask:"},
			{Key: "tokens", Title: "What to ask about:"},
			{Key: "load", Title: "How much to ask:"},
		}),
		kong.Vars{"version": version},
	)
	if err != nil {
		return exitStatus(streams.Err, fmt.Errorf("building the command line: %w", err))
	}
	parsed, err := parser.Parse(args)
	if p, ok := errors.AsType[*kong.ParseError](err); ok && len(args) == 0 {
		return exitStatus(streams.Err, errors.Join(usage(err), p.Context.PrintUsage(false)))
	}
	if err != nil {
		return exitStatus(streams.Err, usage(err))
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return exitStatus(streams.Err, parsed.Run(&g, streams, version))
}

// usageError is a command line that was not understood, or refused as it stands.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error { return usageError{err} }

// exitStatus reports an error, if there is one.
func exitStatus(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	_, _ = fmt.Fprintf(w, "loadtest: %s\n", printable(err.Error())) // there is nowhere left to complain
	if _, ok := errors.AsType[usageError](err); ok {
		_, _ = fmt.Fprintln(w, "loadtest: try --help")
		return exitUsage
	}
	return exitFailed
}

// printable shows as an escape what would steer the terminal instead of printing.
// Parts of an error may come from the target.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
