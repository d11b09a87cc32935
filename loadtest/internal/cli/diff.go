package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/report/diff"
)

type diffCommand struct {
	A           string   `arg:"" name:"a" help:"The result, or directory of results, to compare with."`
	B           string   `arg:"" name:"b" help:"The result, or directory of results, that is compared."`
	FailOnWorse *percent `placeholder:"10%" help:"Exit with 1 if a figure got worse by more than this, and the samples of A and B do not overlap."`
}

func (*diffCommand) Help() string {
	return `Each figure of B is compared with the same one of A: their medians, whether their samples overlap, and, of four samples each and more, how likely such samples are by chance (Mann and Whitney). A figure is better or worse only if the samples lie apart or p is less than 0.05. To have samples, repeat the runs into directories below A and below B.

Examples:

  loadtest diff before after
  loadtest diff before/verify.json after/verify.json --fail-on-worse 10%
`
}

// percent is a share, such as 10%.
type percent float64

// UnmarshalText reads a percentage.
func (p *percent) UnmarshalText(text []byte) error {
	number, found := strings.CutSuffix(string(text), "%")
	value, err := strconv.ParseFloat(number, 64)
	// The comparison also refuses what is not a number.
	if !found || err != nil || !(value >= 0 && value <= 1e6) {
		return fmt.Errorf("%q: want a percentage such as 10%%", text)
	}
	*p = percent(value)
	return nil
}

// Run is called by kong.
func (c *diffCommand) Run(g *grammar, streams Streams) error {
	if g.Out != "" {
		return usage(errors.New("--out: diff only prints; have its output written to a file"))
	}
	a, wrongA := report.Read(c.A)
	b, wrongB := report.Read(c.B)
	// What could not be read would be missing from the comparison without a word.
	if err := errors.Join(wrongA, wrongB); err != nil {
		return err
	}
	if len(a) == 0 || len(b) == 0 {
		return noResults()
	}
	d := diff.Of(report.Merge(a), report.Merge(b))
	text, err := []byte(printable(d.Text())), error(nil)
	if g.Output == "json" {
		text, err = d.JSON()
	}
	if err == nil {
		_, err = streams.Out.Write(text)
	}
	if len(d.Pairs) == 0 {
		err = errors.Join(err, errors.New("nothing is compared: no scenario with the same setting is in both"))
	}
	return errors.Join(err, c.judge(d))
}

// judge names the figures that got too much worse.
func (c *diffCommand) judge(d diff.Diff) error {
	if c.FailOnWorse == nil {
		return nil
	}
	var wrong []error
	for _, p := range d.Pairs {
		for _, cell := range p.Worse(float64(*c.FailOnWorse)) {
			wrong = append(wrong, fmt.Errorf("worse: %s, %s: %s, from %s to %s", p.Scenario, cell, cell.Percent(), report.Number(cell.MedianA), report.Number(cell.MedianB)))
		}
	}
	return errors.Join(wrong...)
}
