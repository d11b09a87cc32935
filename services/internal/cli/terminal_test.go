package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever a string holds, its JSON survives the escaping, and what is printed of
// either cannot act on a terminal.
func TestEscaping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := strings.ToValidUTF8(rapid.String().Draw(t, "text"), "?")
		text, err := json.Marshal(map[string]string{"k": s})
		if err != nil {
			t.Fatal(err)
		}
		escaped := escapeJSON(text)
		var back map[string]string
		if err := json.Unmarshal(escaped, &back); err != nil || back["k"] != s {
			t.Errorf("%q came back as %q, %v", s, back["k"], err)
		}
		for _, shown := range []string{string(escaped), printable(s)} {
			if strings.ContainsFunc(shown, func(r rune) bool {
				return r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e || r == 0x2066
			}) {
				t.Errorf("%q would act", shown)
			}
		}
	})
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain text":      "plain text",
		"Zoë’s téléphone": "Zoë’s téléphone",
		"\x1b[2J":         `\x1b[2J`,
		"a\rb\tc\x00":     `a\rb\tc\x00`,
		"\u009b31m":       `\u009b31m`,
		"txt\u202eexe":    `txt\u202eexe`,
		"two\nlines":      "two\nlines",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	term := newTerminal(Streams{Out: &out}, false)
	term.table([]string{"A", "B"}, []string{"long cell", "b\tc\nd"})
	if want := "A          B\nlong cell  b\\tc\nd\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if term.colour || term.paint(red, "x") != "x" {
		t.Error("colours where there is no terminal")
	}
	term.colour = true
	if got := term.paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("in colour: %q", got)
	}
}

type brokenPipe struct{ writes int }

func (w *brokenPipe) Write([]byte) (int, error) {
	w.writes++
	return 0, errors.New("broken pipe")
}

func TestABrokenPipeIsRemembered(t *testing.T) {
	var w brokenPipe
	term := newTerminal(Streams{Out: &w}, false)
	line := newTimeline(term, "title")
	s := &story{line: line}
	err := s.step("step", func() (string, error) { return "done", nil })
	if err == nil || w.writes != 1 {
		t.Errorf("got %v after %d writes", err, w.writes)
	}
}

func TestTimeline(t *testing.T) {
	var out bytes.Buffer
	line := newTimeline(newTerminal(Streams{Out: &out}, true), "title")
	began := line.began
	line.add(began.Add(2*time.Millisecond), began.Add(3500*time.Microsecond), "revoke", "done")
	line.fail(began, "deny", errors.New("it passed"))
	if err := line.end(false); err != nil {
		t.Fatal(err)
	}
	var got timeline
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	first := step{At: 3.5, Took: 1.5, What: "revoke", Detail: "done", OK: true}
	if len(got.Steps) != 2 || got.Steps[0] != first || got.Steps[1].OK || got.Steps[1].Detail != "it passed" || got.OK {
		t.Errorf("got %+v", got)
	}
}

func TestApart(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-400 * time.Microsecond: "0.4 ms before", 0: "0.0 ms after", 12 * time.Millisecond: "12.0 ms after",
	} {
		if got := apart(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

// A shell reads back what was quoted for it.
func TestQuote(t *testing.T) {
	for _, path := range []string{"/tmp/revocast-dev-1/admin.token", "/tmp/it's here/$HOME `x`", `back\slash "q"`, "a;b&c|d>e", "été"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(path)).Output()
		if err != nil || string(out) != path {
			t.Errorf("%s came back as %q, %v", path, out, err)
		}
	}
	if got := quote("/plain/path.file"); got != "/plain/path.file" {
		t.Errorf("needless quotes: %s", got)
	}
}

func TestLoopbackAlone(t *testing.T) {
	for base, want := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://[::1]:8080": true, "http://localhost:8080": true, "https://id.example": true,
		"http://id.example": false, "http://127.0.0.1.example": false, "http://0.0.0.0:8080": false, "http://localhost.example": false,
	} {
		if _, err := newAPI(base, "", false); (err == nil) != want {
			t.Errorf("%s: %v", base, err)
		}
		if _, err := newAPI(base, "", true); err != nil {
			t.Errorf("%s, allowed: %v", base, err)
		}
	}
}
