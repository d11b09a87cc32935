package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/report/chart"
	"github.com/revocast/revocast/loadtest/internal/report/page"
)

type reportCommand struct {
	Results []string `arg:"" name:"result" placeholder:"RESULT" help:"Files that runs wrote, or directories of them, and of directories of them."`
	Images  string   `placeholder:"DIR" help:"Write each plot into this directory, as SVG for documents."`
}

func (*reportCommand) Help() string {
	return `Runs of one version on one machine with the same setting become samples of one table: their median is shown, with the least and the most. All others are shown one after the other. The page, report.html, is written into --out or, without it, into the directory that is the only argument.

Examples:

  loadtest report loadtest/out
  loadtest report run1 run2 run3 --out all
  loadtest report loadtest/out --images docs/images
`
}

// Run is called by kong.
func (c *reportCommand) Run(g *grammar, streams Streams) error {
	results, err := report.Read(c.Results...)
	if len(results) == 0 && err == nil {
		err = noResults()
	}
	if len(results) == 0 {
		return err
	}
	results = report.Merge(results)
	return errors.Join(err, printAll(g, streams, results), c.write(g, results))
}

// noResults is the error of directories that hold other files only.
func noResults() error {
	return errors.New("reading results: there are none; a run writes SCENARIO.json into the directory of --out")
}

func printAll(g *grammar, streams Streams, results []report.Result) error {
	if g.Output == "json" {
		encoder := json.NewEncoder(streams.Out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(results)
	}
	texts := make([]string, 0, len(results))
	for _, r := range results {
		texts = append(texts, printable(r.Text()))
	}
	_, err := fmt.Fprint(streams.Out, strings.Join(texts, "\n\n"))
	return err
}

// write makes the page and the images, one even if the other cannot be made.
func (c *reportCommand) write(g *grammar, results []report.Result) error {
	var wrong []error
	if dir := c.out(g); dir != "" {
		err := mkdir(dir, "the page")
		if err == nil {
			err = page.Write(dir, results)
		}
		wrong = append(wrong, err)
	}
	if c.Images != "" {
		err := mkdir(c.Images, "the images")
		if err == nil {
			err = writeImages(c.Images, results)
		}
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// out is where the page goes, if anywhere.
func (c *reportCommand) out(g *grammar) string {
	if g.Out == "" && len(c.Results) == 1 {
		if info, err := os.Stat(c.Results[0]); err == nil && info.IsDir() {
			return c.Results[0]
		}
	}
	return g.Out
}

func mkdir(dir, what string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making the directory for %s: %w", what, err)
	}
	return nil
}

// writeImages draws each plot into a file named after its scenario and itself, and
// numbers those of one name.
func writeImages(dir string, results []report.Result) error {
	taken := map[string]int{}
	for _, r := range results {
		for _, p := range r.Plots {
			svg, err := chart.SVG(p)
			if err != nil {
				return err
			}
			name := fileName(r.Scenario + " " + p.Name)
			taken[name]++
			if n := taken[name]; n > 1 {
				name = fmt.Sprintf("%s-%d", name, n)
			}
			if err := report.Replace(filepath.Join(dir, name+".svg"), svg); err != nil {
				return err
			}
		}
	}
	return nil
}

// fileName joins the words of a name, in small letters, by dashes.
func fileName(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return strings.Join(words, "-")
}
