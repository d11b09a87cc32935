package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
)

// terminal prints, either for people or as JSON. A write that failed (a closed pipe)
// is remembered and everything after it dropped.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	json     bool
	colour   bool
	failed   error
}

func newTerminal(s Streams, json bool) *terminal {
	t := &terminal{in: s.In, err: s.Err, json: json}
	if f, ok := s.Out.(*os.File); ok {
		t.colour = term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	t.out = s.Out
	return t
}

func (t *terminal) write(b []byte) {
	if t.failed == nil {
		_, t.failed = t.out.Write(b)
	}
}

func (t *terminal) printf(format string, args ...any) {
	t.write(fmt.Appendf(nil, format, args...))
}

// printJSON prints v indented.
func (t *terminal) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	t.write(append(escapeJSON(text), '\n'))
	return nil
}

// printLine prints v as JSON on one line.
func (t *terminal) printLine(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	t.write(append(escapeJSON(text), '\n'))
	return nil
}

// table prints rows in columns, the first row being the heading.
func (t *terminal) table(rows ...[]string) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				_, _ = io.WriteString(w, "\t") // a Buffer takes everything
			}
			_, _ = io.WriteString(w, printable(cell))
		}
		_, _ = io.WriteString(w, "\n")
	}
	_ = w.Flush()
	t.write(b.Bytes())
}

// Colours, as the terminal's own palette has them (ECMA-48 section 8.3.117).
const (
	plain  = ""
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
)

func (t *terminal) paint(colour, s string) string {
	if !t.colour || colour == plain {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// printable shows as an escape what would not print but act: control characters and
// marks that reorder text. A device may have been named with these by anyone. New
// lines stay; they are our own, since a cell never holds one.
func printable(s string) string {
	return escape(s, func(r rune) string {
		quoted := strconv.QuoteRuneToASCII(r)
		return quoted[1 : len(quoted)-1]
	})
}

// escapeJSON does the same to an encoded document, where such characters occur in
// strings only and \u escapes mean them.
func escapeJSON(text []byte) []byte {
	return []byte(escape(string(text), func(r rune) string {
		if r > 0xffff {
			r -= 0x10000
			return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
		return fmt.Sprintf(`\u%04x`, r)
	}))
}

func escape(s string, with func(rune) string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
		} else {
			b.WriteString(with(r))
		}
	}
	return b.String()
}
