package e2e

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// fence is a fenced code block of a document that is run or compared.
type fence struct {
	// line is where the block begins, counted from one.
	line int
	// text is its content; lines end with a newline.
	text string

	// Of a block of commands: why it is not run, if it is not; whether it goes on in
	// the background; and the exit status it ends with.
	commands   bool
	skip       string
	background bool
	expect     int

	// Of a block of output: whether it is compared with what the block of commands
	// before it printed.
	compared bool
}

const directiveMark = "docs-test:"

var (
	// directive is a comment that steers the block below it.
	directive = regexp.MustCompile(`^<!-- docs-test: +(.*?) +-->$`)
	// opening is the first line of a block: indentation, fence, language.
	opening = regexp.MustCompile("^( *)(`{3,})([^`]*)$")
	// shellNames are languages that look like commands and are not run.
	shellNames = regexp.MustCompile(`^(|bash|shell|zsh|fish|cmd|powershell|shell-?session)$`)
	// endTrap would keep the session from stopping what runs in the background.
	endTrap = regexp.MustCompile(`\btrap\s+(--\s+)?('[^']*'|"[^"]*"|\S+)\s+([A-Z0-9]+\s+)*(EXIT|0)\b`)
)

// readFences gives the blocks of commands and output of a document, and every fault:
// whatever might be left out of the test by a slip is one.
func readFences(document string) ([]fence, error) {
	var r fenceReader
	for i, line := range strings.Split(strings.TrimSuffix(document, "\n"), "\n") {
		r.read(i+1, line)
	}
	if r.marker != "" {
		r.fault(r.current.line, "the block has no end")
	}
	return r.fences, errors.Join(r.faults...)
}

type fenceReader struct {
	fences []fence
	faults []error

	directives []string // directly above

	// Inside a block:
	marker, indent, language string
	current                  fence
	steered                  []string
}

func (r *fenceReader) fault(line int, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("line %d: "+format, append([]any{line}, args...)...))
}

func (r *fenceReader) read(n int, line string) {
	trimmed := strings.TrimSpace(line)
	if r.marker != "" {
		if strings.HasPrefix(trimmed, r.marker) && strings.Trim(trimmed, "`") == "" {
			r.marker = ""
			r.finish()
			return
		}
		r.current.text += strings.TrimPrefix(line, r.indent) + "\n"
		return
	}
	if m := directive.FindStringSubmatch(trimmed); m != nil {
		r.directives = append(r.directives, m[1])
		return
	}
	m := opening.FindStringSubmatch(line)
	switch {
	case m != nil:
		r.indent, r.marker, r.language = m[1], m[2], strings.TrimSpace(m[3])
		r.current, r.steered, r.directives = fence{line: n}, r.directives, nil
		return
	case strings.HasPrefix(trimmed, "~~~"):
		r.fault(n, "fence blocks with backticks")
	case strings.HasPrefix(strings.TrimLeft(trimmed, "<!- "), directiveMark):
		r.fault(n, "want <!-- docs-test: DIRECTIVE --> on a line of its own")
	case len(r.directives) > 0:
		r.fault(n, "a directive stands directly above its block")
	}
	r.directives = nil
}

// finish judges the block just read.
func (r *fenceReader) finish() {
	f := r.current
	if len(r.steered) > 1 {
		r.fault(f.line, "one directive is enough")
		return
	}
	name, argument, _ := strings.Cut(strings.Join(r.steered, ""), " ")
	switch r.language {
	case "sh":
		f.commands = true
		r.steerCommands(f, name, argument)
	case "console", "text":
		r.steerOutput(f, name)
	default:
		if name != "" {
			r.fault(f.line, "there is nothing to steer in a block of %q", r.language)
		}
		if shellNames.MatchString(r.language) {
			r.fault(f.line, "want a language: sh for commands that are run, console or text for what is not")
		}
	}
}

func (r *fenceReader) steerCommands(f fence, name, argument string) {
	if endTrap.MatchString(f.text) {
		r.fault(f.line, "the session needs its EXIT trap itself")
	}
	switch name {
	case "":
	case "skip":
		if len(strings.Fields(argument)) < 2 {
			r.fault(f.line, "skip wants a reason")
		}
		f.skip = argument
	case "background":
		f.background = true
	case "expect":
		status, err := strconv.ParseUint(argument, 10, 8)
		if err != nil || status == 0 {
			r.fault(f.line, "expect wants an exit status from 1 to 255")
		}
		f.expect = int(status)
	default:
		r.fault(f.line, "a block of commands cannot be steered by %q", name)
	}
	r.fences = append(r.fences, f)
}

// steerOutput takes a transcript, which is commands after a dollar each with its
// output, apart into blocks of either.
func (r *fenceReader) steerOutput(f fence, name string) {
	switch {
	case name == "":
		r.fences = append(r.fences, f)
		return
	case name != "output":
		r.fault(f.line, "a block of output cannot be steered by %q", name)
		return
	}
	f.compared = true
	if !strings.HasPrefix(f.text, prompt) {
		if !r.printed() {
			r.fault(f.line, "output is compared with the block of commands directly before it, which is not there")
		}
		r.fences = append(r.fences, f)
		return
	}
	for part := range strings.SplitSeq("\n"+strings.TrimSuffix(f.text, "\n"), "\n"+prompt) {
		if part == "" {
			continue // before the first dollar
		}
		command, output, _ := strings.Cut(part, "\n")
		r.fences = append(r.fences,
			fence{line: f.line, commands: true, text: command + "\n"},
			fence{line: f.line, compared: true, text: output + "\n"})
	}
}

// printed says whether there is a block of commands just before whose output is known.
func (r *fenceReader) printed() bool {
	if len(r.fences) == 0 {
		return false
	}
	last := r.fences[len(r.fences)-1]
	return last.commands && last.skip == "" && !last.background
}

const prompt = "$ "

// commands gives the lines of all blocks that are run.
func commands(fences []fence) map[string]bool {
	lines := map[string]bool{}
	for _, f := range fences {
		if f.commands && f.skip == "" {
			for line := range strings.Lines(f.text) {
				command, _, _ := strings.Cut(line, " #")
				lines[strings.TrimSpace(command)] = true
			}
		}
	}
	return lines
}

// quoted gives the commands that blocks show and do not run.
func quoted(fences []fence) []string {
	var lines []string
	for _, f := range fences {
		for line := range strings.Lines(f.text) {
			if command, found := strings.CutPrefix(line, prompt); found && !f.commands && !f.compared {
				lines = append(lines, strings.TrimSpace(command))
			}
		}
	}
	return lines
}

func TestFences(t *testing.T) {
	fences, err := readFences(strings.ReplaceAll(`# A document

'''sh
one
# comment
'''

<!-- docs-test: background -->
'''sh
two \
  more
'''

- A list:
  <!-- docs-test: expect 3 -->
  '''sh
  three
    indented
  '''
  <!-- docs-test: output -->
  '''text
  printed
  '''

<!-- docs-test: skip it needs a cluster -->
'''sh
not run
'''

''''sh
'''
longer fence
''''

<!-- docs-test: output -->
'''console
$ four
printed
too
$ five
'''

'''text
$ one
'''

'''yaml
not: ours
'''
`, "'", "`"))
	if err != nil {
		t.Fatal(err)
	}
	want := []fence{
		{line: 3, commands: true, text: "one\n# comment\n"},
		{line: 9, commands: true, background: true, text: "two \\\n  more\n"},
		{line: 16, commands: true, expect: 3, text: "three\n  indented\n"},
		{line: 21, compared: true, text: "printed\n"},
		{line: 26, commands: true, skip: "it needs a cluster", text: "not run\n"},
		{line: 30, commands: true, text: "```\nlonger fence\n"},
		{line: 36, commands: true, text: "four\n"},
		{line: 36, compared: true, text: "printed\ntoo\n"},
		{line: 36, commands: true, text: "five\n"},
		{line: 36, compared: true, text: "\n"},
		{line: 43, text: "$ one\n"},
	}
	if fmt.Sprintf("%+v", fences) != fmt.Sprintf("%+v", want) {
		t.Errorf("got\n%+v\nwant\n%+v", fences, want)
	}
	if ran := commands(fences); !ran["one"] || !ran["four"] || ran["not run"] {
		t.Errorf("run: %v", ran)
	}
	if shown := quoted(fences); len(shown) != 1 || shown[0] != "one" {
		t.Errorf("shown: %v", shown)
	}
}

// Nothing can be left out by a slip.
func TestFenceFaults(t *testing.T) {
	for name, document := range map[string]string{
		"the block has no end":                 "'''sh\nx\n",
		"backticks":                            "~~~sh\nx\n~~~\n",
		"want a language":                      "'''\nx\n'''\n",
		"want a language: sh":                  "'''bash\nx\n'''\n",
		"directly above its block":             "<!-- docs-test: background -->\n\n'''sh\nx\n'''\n",
		"skip wants a reason":                  "<!-- docs-test: skip it -->\n'''sh\nx\n'''\n",
		"expect wants":                         "<!-- docs-test: expect failure -->\n'''sh\nx\n'''\n",
		"expect wants an exit status from 1":   "<!-- docs-test: expect 0 -->\n'''sh\nx\n'''\n",
		`steered by "sikp"`:                    "<!-- docs-test: sikp a good reason -->\n'''sh\nx\n'''\n",
		`steered by "output"`:                  "<!-- docs-test: output -->\n'''sh\nx\n'''\n",
		`steered by "skip"`:                    "<!-- docs-test: skip a good reason -->\n'''text\nx\n'''\n",
		"nothing to steer":                     "<!-- docs-test: background -->\n'''yaml\nx\n'''\n",
		"on a line of its own":                 "<!--docs-test: background-->\n'''sh\nx\n'''\n",
		"want <!-- docs-test":                  "<!--\ndocs-test: background\n-->\n'''sh\nx\n'''\n",
		"one directive":                        "<!-- docs-test: background -->\n<!-- docs-test: expect 1 -->\n'''sh\nx\n'''\n",
		"which is not there":                   "<!-- docs-test: output -->\n'''text\nx\n'''\n",
		"directly before it":                   "'''sh\nx\n'''\n'''text\ny\n'''\n<!-- docs-test: output -->\n'''text\nx\n'''\n",
		"output is compared with the block of": "<!-- docs-test: background -->\n'''sh\nx\n'''\n<!-- docs-test: output -->\n'''text\nx\n'''\n",
		"which is not":                         "'''sh\nx\n'''\n<!-- docs-test: skip a good reason -->\n'''sh\nx\n'''\n<!-- docs-test: output -->\n'''text\nx\n'''\n",
		"EXIT trap":                            "'''sh\ntrap 'rm x' EXIT\n'''\n",
	} {
		if _, err := readFences(strings.ReplaceAll(document, "'''", "```")); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v, want %q", document, err, name)
		}
	}
}
