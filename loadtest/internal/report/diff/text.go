package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/revocast/revocast/loadtest/internal/report"
)

// Text is the comparison for people.
func (d Diff) Text() string {
	var b strings.Builder
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) } // a Builder takes everything
	for n, p := range d.Pairs {
		if n > 0 {
			say("")
		}
		say("%s: A is %s of %s, B is %s of %s", p.Scenario, p.A.Version, p.A.Began, p.B.Version, p.B.Began)
		for _, r := range p.Remarks {
			say("%s", r)
		}
		p.tables(&b)
		for _, c := range p.OnlyA {
			say("only in A: %s", c)
		}
		for _, c := range p.OnlyB {
			say("only in B: %s", c)
		}
	}
	for _, r := range d.OnlyA {
		say("only in A: %s", r)
	}
	for _, r := range d.OnlyB {
		say("only in B: %s", r)
	}
	return b.String()
}

// tables prints the cells, those of a table together and under a head.
func (p Pair) tables(b *strings.Builder) {
	table := ""
	rows := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for n, c := range p.Cells {
		if n == 0 || c.Table != table {
			table = c.Table
			_ = rows.Flush()
			_, _ = fmt.Fprintf(rows, "\n%s\n%s\tfigure\tA\tB\tchange\tverdict\tsamples\n", c.Table, c.Of)
		}
		_, _ = fmt.Fprintf(rows, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Row, report.Column{Name: c.Column, Unit: c.Unit},
			report.Spread(c.A), report.Spread(c.B), c.Percent(), c.Verdict, c.samples())
	}
	_ = rows.Flush()
	if len(p.Cells) > 0 {
		b.WriteByte('\n')
	}
}

// Percent is the change in percent, with its sign.
func (c Cell) Percent() string {
	switch {
	case c.MedianA == c.MedianB:
		return "0%"
	case c.Change == nil:
		return "from 0"
	}
	return fmt.Sprintf("%+.1f%%", *c.Change)
}

func (c Cell) samples() string {
	s := fmt.Sprintf("%d+%d", len(c.A), len(c.B))
	if c.P != nil {
		s += fmt.Sprintf(" p=%.3f", *c.P)
	}
	return s
}

// JSON is the comparison for programs, with a newline at its end.
func (d Diff) JSON() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // p99<5ms shall read as what was asked for
	if err := encoder.Encode(d); err != nil {
		return nil, fmt.Errorf("encoding the comparison: %w", err)
	}
	return text.Bytes(), nil
}
