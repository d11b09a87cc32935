package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/report/page"
)

// running is one run of a scenario's command: what all of them have in common.
type running struct {
	*grammar
	Streams
	version  string
	scenario string
}

// prepare makes the directory for the result, before the run, lest that be for nothing.
func (r running) prepare() error {
	if r.grammar.Out == "" {
		return nil
	}
	if err := os.MkdirAll(r.grammar.Out, 0o750); err != nil {
		return fmt.Errorf("making the directory for the result: %w", err)
	}
	return nil
}

func (r running) note(format string, args ...any) {
	_, _ = fmt.Fprintf(r.Err, "loadtest: "+format+"\n", args...) // nowhere left to complain
}

// watch runs the load and shows how it is getting on.
func (r running) watch(ctx context.Context, p report.Progress, recorder *measure.Recorder, load func()) {
	ctx, stop := context.WithCancel(ctx)
	p.Out, p.Terminal = r.Err, isTerminal(r.Err)
	var showing sync.WaitGroup
	showing.Go(func() { p.Run(ctx, recorder.Summary) })
	load()
	stop()
	showing.Wait()
}

// judged is a case that is held against the objectives.
type judged struct {
	// row is its name; empty for the only one.
	row     string
	summary measure.Summary
	// loop says that requests were due when there was somebody free for them, so that no
	// limit on latencies means anything.
	loop bool
}

// finish completes the result of a run, judges it by what was recorded, shows it and
// keeps it. Its error says what is wrong with it.
func (r running) finish(ctx context.Context, result report.Result, s measure.Summary, slo []measure.Objective) error {
	return r.finishAll(ctx, result, slo, []judged{{summary: s}})
}

// finishAll is finish for several cases, each of which has to keep all objectives.
func (r running) finishAll(ctx context.Context, result report.Result, slo []measure.Objective, cases []judged) error {
	result.Scenario, result.Version, result.Machine = r.scenario, r.version, report.ThisMachine()
	result.Seconds = time.Since(result.Began).Round(time.Millisecond).Seconds()
	result.Began = result.Began.UTC().Truncate(time.Millisecond)
	result.Interrupted = ctx.Err() != nil
	for _, c := range cases {
		for _, o := range withErrors(slo) {
			if c.loop && !o.OnErrors() {
				continue
			}
			v := o.Judge(c.summary)
			if c.row != "" {
				v.Objective += " for " + c.row
			}
			result.Verdicts = append(result.Verdicts, v)
		}
	}
	return errors.Join(r.present(result), judge(result))
}

// withErrors are the objectives asked for, and no errors unless one of them is about
// errors.
func withErrors(slo []measure.Objective) []measure.Objective {
	if slices.ContainsFunc(slo, measure.Objective.OnErrors) {
		return slo
	}
	return append(slices.Clone(slo), measure.NoErrors())
}

// present prints the result and writes it, one even if the other cannot be done.
func (r running) present(result report.Result) error {
	text, err := []byte(printable(result.Text())), error(nil)
	if r.Output == "json" {
		text, err = result.JSON()
	}
	if err == nil {
		if _, err = r.Streams.Out.Write(text); err != nil {
			err = fmt.Errorf("printing the result: %w", err)
		}
	}
	if r.grammar.Out != "" {
		err = errors.Join(err, keep(r.grammar.Out, result))
	}
	return err
}

// keep writes the result into dir, and makes the page of all results there anew. What
// dir does not take is put elsewhere.
func keep(dir string, result report.Result) error {
	if err := result.Write(dir); err != nil {
		return errors.Join(err, keepElsewhere(result))
	}
	results, err := report.ReadDir(dir)
	if len(results) == 0 {
		return err
	}
	if wrong := page.Write(dir, results); wrong != nil {
		err = errors.Join(err, wrong, fmt.Errorf("the results are there; loadtest report %s makes the page of them", dir))
	}
	return err
}

// keepElsewhere writes the result into a new directory for temporary files, and says
// where that is.
func keepElsewhere(result report.Result) error {
	dir, err := os.MkdirTemp("", "loadtest-")
	if err == nil {
		err = result.Write(dir)
	}
	if err != nil {
		return fmt.Errorf("keeping the result elsewhere: %w", err)
	}
	return fmt.Errorf("the result is in %s instead", dir)
}

// judge turns what is wrong with a result into the error it exits with.
func judge(result report.Result) error {
	var wrong []error
	if result.Interrupted {
		wrong = append(wrong, errors.New("interrupted"))
	}
	for _, v := range result.Missed() {
		wrong = append(wrong, fmt.Errorf("missed %s: %s", v.Objective, v.Value))
	}
	return errors.Join(wrong...)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
