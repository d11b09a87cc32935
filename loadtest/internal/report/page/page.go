package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"fmt"
	"html/template"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/report/chart"
)

var (
	//go:embed page.html
	markup string
	//go:embed page.css
	style string
	//go:embed page.js
	script string

	// uPlot 1.6.32, from dist/ of https://registry.npmjs.org/uplot/-/uplot-1.6.32.tgz.

	//go:embed vendored/uplot-1.6.32/uPlot.iife.min.js
	uplotScript string
	//go:embed vendored/uplot-1.6.32/uPlot.min.css
	uplotStyle string
	//go:embed vendored/uplot-1.6.32/LICENSE
	uplotLicense string
)

// File is the page's name in a directory of results.
const File = "report.html"

// Write puts the page of the results into dir, which is there already.
func Write(dir string, results []report.Result) error {
	page, err := Of(results)
	if err != nil {
		return err
	}
	return report.Replace(filepath.Join(dir, File), page)
}

// Of is the page of the results, in their order.
func Of(results []report.Result) ([]byte, error) {
	parsed, err := template.New("page").Parse(markup)
	if err != nil {
		return nil, fmt.Errorf("reading the page's template: %w", err)
	}
	doc := document{
		Style:   template.CSS(uplotStyle + style),                            //nolint:gosec // our own and uPlot's
		Library: template.JS("/*\n" + uplotLicense + "\n*/\n" + uplotScript), //nolint:gosec // uPlot's
		Script:  template.JS(script),                                         //nolint:gosec // our own
	}
	doc.Policy = fmt.Sprintf("default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; script-src %s %s; style-src %s",
		hash(string(doc.Library)), hash(string(doc.Script)), hash(string(doc.Style)))
	for n, r := range results {
		s, err := doc.section(n, r)
		if err != nil {
			return nil, err
		}
		doc.Results = append(doc.Results, s)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, doc); err != nil {
		return nil, fmt.Errorf("making the page: %w", err)
	}
	return out.Bytes(), nil
}

// hash names an inline script or style in a policy.
func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// document is what the template shows.
type document struct { //nolint:recvcheck // a value that only section changes
	Policy          string
	Style           template.CSS
	Library, Script template.JS
	Results         []section
	// Plots are what the script draws, by their number in the document.
	Plots []drawing
}

// Title names the scenarios, each once.
func (d document) Title() string {
	var names []string
	seen := map[string]bool{}
	for _, r := range d.Results {
		if !seen[r.Scenario] {
			seen[r.Scenario] = true
			names = append(names, r.Scenario)
		}
	}
	return "Revocast load test: " + strings.Join(names, ", ")
}

// section is a result.
type section struct {
	// ID is that of the section's heading.
	ID string
	report.Result
	Facts  []report.Fact
	Tables []table
	Plots  []figure
}

// figure is a plot: drawn for paper, with the number by which the script finds it. One
// without anything to draw has no image.
type figure struct {
	ID    string
	Name  string
	Alt   string
	Image template.URL
	Plot  int
}

func (d *document) section(n int, r report.Result) (section, error) {
	s := section{ID: fmt.Sprintf("result-%d", n+1), Result: r}
	fact := func(name, value string) { s.Facts = append(s.Facts, report.Fact{Name: name, Value: value}) }
	fact("began", r.Began.UTC().Format("2 January 2006, 15:04:05 MST"))
	fact("took", time.Duration(r.Seconds*float64(time.Second)).Round(100*time.Millisecond).String())
	fact("version", r.Version)
	fact("machine", r.Machine.String())
	s.Facts = append(s.Facts, r.Setting...)
	for _, t := range r.Tables {
		s.Tables = append(s.Tables, newTable(t))
	}
	for _, p := range r.Plots {
		f := figure{ID: fmt.Sprintf("plot-%d", len(d.Plots)+1), Name: p.Name, Alt: alt(p), Plot: len(d.Plots)}
		if !slices.ContainsFunc(p.Series, func(s report.Series) bool { xs, _ := chart.Points(p, s); return len(xs) > 0 }) {
			s.Plots = append(s.Plots, f)
			continue
		}
		p.Name = "" // the caption has it
		svg, err := chart.SVG(p)
		if err != nil {
			return section{}, err
		}
		f.Image = template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(svg)) //nolint:gosec // base64 is only that
		s.Plots = append(s.Plots, f)
		d.Plots = append(d.Plots, newDrawing(p))
	}
	return s, nil
}

// alt says what the plot shows.
func alt(p report.Plot) string {
	var names []string
	for _, s := range p.Series {
		names = append(names, s.Name)
	}
	return fmt.Sprintf("%s over %s: %s", p.Y, p.X, strings.Join(names, ", "))
}

// Kept is how many objectives were.
func (s section) Kept() int { return len(s.Verdicts) - len(s.Missed()) }

// Word is the verdict in a word.
func (section) Word(v measure.Verdict) string {
	if v.Kept {
		return "kept"
	}
	return "missed"
}
