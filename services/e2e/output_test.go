//go:build unix

package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// anything is the mark that documents leave lines out with, or a part of a line.
const anything = "…"

// variable parts of what is printed, in the order in which they are looked for. An
// integer of up to three digits that is not a duration must match: a status is not
// just any other status.
var variable = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`\beyJ[\w-]*(\.[\w-]*)*` + anything + `?`), "<token>"},
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "<id>"},
	{regexp.MustCompile(`\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\b`), "<time>"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?)?`), "<time>"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d(\.\d+)?\b`), "<time>"},
	{regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)? ?(ns|µs|us|ms|s|m|h)\b`), "<duration>"},
	{regexp.MustCompile(`(/tmp/[a-z-]+)\d+`), "$1<number>"},
	{regexp.MustCompile(`\b[\w-]*\d[\w-]{19,}|\b[\w-]{19,}\d[\w-]*`), "<id>"},
	{regexp.MustCompile(`\b\d+\.\d+(%|\b)`), "<number>"},
	{regexp.MustCompile(`\b\d{4,}\b`), "<number>"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

// normalised gives the lines of an output that are not blank, with what differs from
// run to run taken out: tokens, ids, times, durations, decimals, integers of more than
// three digits, the amount of white space, and where the session is.
func (s session) normalised(output string) []string {
	output = strings.NewReplacer(filepath.Join(s.dir, "tmp"), "/tmp", filepath.Join(s.dir, "home"), "~", s.root, ".").Replace(output)
	var lines []string
	for line := range strings.Lines(output) {
		for _, v := range variable {
			line = v.pattern.ReplaceAllString(line, v.name)
		}
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// compare reports the first line of the document that was not printed. A line of
// nothing but … stands for any number of lines, and … in a line for any text.
func compare(document, printed []string) error {
	best := 0
	if fits(document, printed, 0, &best) {
		return nil
	}
	wanted := "the end"
	if best < len(document) {
		wanted = document[best]
	}
	return fmt.Errorf("no %q in\n%s", wanted, strings.Join(printed, "\n"))
}

func fits(document, printed []string, at int, best *int) bool {
	*best = max(*best, at)
	switch {
	case len(document) == 0:
		return len(printed) == 0
	case document[0] == anything:
		for skip := range len(printed) + 1 {
			if fits(document[1:], printed[skip:], at+1, best) {
				return true
			}
		}
		return false
	case len(printed) == 0:
		return false
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(document[0]), anything, ".*")
	line := regexp.MustCompile(`^` + pattern + `$`)
	return line.MatchString(printed[0]) && fits(document[1:], printed[1:], at+1, best)
}

func TestCompare(t *testing.T) {
	s := session{root: "/a/clone", dir: "/a/session"}
	for _, c := range []struct {
		document, printed string
		same              bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a\n\nb\n", "a\nb\n\n", true},
		{"a\nb\n", "a\n", false},
		{"a\n", "a\nb\n", false},
		{"a\n", "", false},
		{"", "a\n", false},
		{"a\n…\nd\n", "a\nb\nc\nd\n", true},
		{"a\n…\n", "a\n", true},
		{"…\nb\n…\nb\n", "a\nb\nc\nb\n", true},
		{"…\nc\n…\nb\n", "a\nb\nc\n", false},
		{"deny … before\n", "deny 0.3 ms, just before\n", true},
		{"deny … before\n", "deny 0.3 ms after\n", false},
		{"a.c\n", "abc\n", false},

		{"status  200\n", "status 200\n", true},
		{"status 200\n", "status 401\n", false},
		{"20 tokens\n", "21 tokens\n", false},
		{"took 12 ms\n", "took 345ms\n", true},
		{"  12.3   4.5  ok\n", "1.5 10023.25 ok\n", true},
		{"in 2.3 s.\n", "in 1m12.5s.\n", true},
		{"17.5% late\n", "2.25% late\n", true},
		{"http://127.0.0.1:18231/auth\n", "http://127.0.0.1:30001/auth\n", true},
		{"position 0:1795310000000000\n", "position 0:1795310000000042\n", true},
		{"session 01a201da-b0ba-7cc4-8c03-9b47a21978b6\n", "session ffffffff-b0ba-7cc4-8c03-9b47a21978b6\n", true},
		{"expires 2026-11-22T06:29:22Z\n", "expires 2027-01-01T00:00:00.123+01:00\n", true},
		{"Date: Sun, 22 Nov 2026 06:29:22 GMT\n", "Date: Mon, 01 Jan 2029 01:02:03 GMT\n", true},
		{"token eyJhbGciOi…\n", "token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln\n", true},
		{"below /tmp/revocast-demo-3117423361\n", "below /a/session/tmp/revocast-demo-99\n", true},
		{"saved ~/alice.json, ./bin/issuer\n", "saved /a/session/home/alice.json, /a/clone/bin/issuer\n", true},
	} {
		if err := compare(s.normalised(c.document), s.normalised(c.printed)); (err == nil) != c.same {
			t.Errorf("%q and %q: %v", c.document, c.printed, err)
		}
	}
}
