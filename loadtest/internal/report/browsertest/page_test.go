package browsertest

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/report/page"
)

const hostile = `</script><img src=x onerror="document.title='taken'">`

// plots are one of every kind, as the scenarios make them.
func plots() []report.Plot {
	cdf := report.Plot{
		Name: "Propagation by fleet size", Shape: report.Step,
		X: report.Axis{Label: "acknowledged to enforced", Unit: "ms", Log: true}, Y: report.Axis{Label: "share of all", Unit: "%"},
	}
	for n, name := range []string{"100 sidecars", "300 sidecars", "1,000 sidecars", "3,000 sidecars"} {
		s := report.Series{Name: name}
		for k := range 200 {
			share := float64(k+1) / 200
			s.X = append(s.X, 0.3*float64(n+1)*math.Exp(1.4*share*share*share*2))
			s.Y = append(s.Y, 100*share)
		}
		cdf.Series = append(cdf.Series, s)
	}
	throughput := report.Plot{
		Name: "Throughput over latency", Shape: report.Line,
		X: report.Axis{Label: "answered", Unit: "/s"}, Y: report.Axis{Label: "p99", Unit: "ms", Log: true},
	}
	for n, name := range []string{"in process", "forward-auth", "ext_authz", "introspection", "proxy", hostile} {
		s := report.Series{Name: name}
		for k := range 8 {
			rate := float64(k+1) * 2000 * (1 - 0.1*float64(n))
			s.X, s.Y = append(s.X, rate), append(s.Y, 0.4*float64(n+1)/(1.02-float64(k+1)/8))
		}
		throughput.Series = append(throughput.Series, s)
	}
	memory := report.Plot{
		Name: "Memory by entries", Shape: report.Line,
		X: report.Axis{Label: "revocations", Log: true}, Y: report.Axis{Label: "memory", Unit: "MiB", Log: true},
		Series: []report.Series{
			{Name: "resident", X: []float64{1e3, 1e4, 1e5, 1e6, 1e7}, Y: []float64{41, 43, 52, 96, 310}},
			{Name: "heap", X: []float64{1e3, 1e4, 1e5, 1e6, 1e7}, Y: []float64{11, 12, 19, 55, 210}},
		},
	}
	exposure := report.Plot{
		Name: "Exposure time", Shape: report.Bars,
		X: report.Axis{Label: "revoked until refused", Unit: "ms", Log: true}, Y: report.Axis{Label: "tokens"},
		Series: []report.Series{
			{Name: "revocast", X: []float64{1, 2, 4, 8, 16}, Y: []float64{220, 640, 110, 20, 10}},
			{Name: "polling every 10 s", X: []float64{16, 128, 1024, 4096, 8192, 10000}, Y: []float64{10, 80, 310, 410, 190, 0}},
		},
	}
	return []report.Plot{cdf, throughput, memory, exposure}
}

// results are two: one with everything, one with little.
func results() []report.Result {
	front := report.Table{Name: "requests", Of: "front"}
	for n, name := range []string{"in process", "forward-auth", "ext_authz", "introspection", "proxy", "redis " + hostile} {
		f := float64(n + 1)
		for _, c := range []struct {
			report.Column
			value float64
		}{
			{report.Column{Name: "answered", Unit: "/s", Better: report.Higher}, 20000 / f},
			{report.Column{Name: "mean", Unit: "ms", Better: report.Lower}, 0.312 * f},
			{report.Column{Name: "p50", Unit: "ms", Better: report.Lower}, 0.25 * f},
			{report.Column{Name: "p90", Unit: "ms", Better: report.Lower}, 0.6 * f},
			{report.Column{Name: "p99", Unit: "ms", Better: report.Lower}, 1.2 * f},
			{report.Column{Name: "p99.9", Unit: "ms", Better: report.Lower}, 4.2 * f},
			{report.Column{Name: "max", Unit: "ms", Better: report.Lower}, 21 * f},
			{report.Column{Name: "service p99", Unit: "ms", Better: report.Lower}, 1.1 * f},
			{report.Column{Name: "start delay p99", Unit: "ms", Better: report.Lower}, 0.1 * f},
			{report.Column{Name: "errors", Unit: "%", Better: report.Lower}, 0},
			{report.Column{Name: "late starts", Unit: "%"}, 0.2 * f},
			{report.Column{Name: "client", Unit: "CPUs"}, 0.4},
		} {
			front.Set(name, c.Column, c.value, c.value*1.05, c.value*0.97)
		}
	}
	began := time.Date(2026, time.November, 1, 12, 0, 0, 0, time.UTC)
	machine := report.Machine{OS: "linux", Arch: "amd64", Kernel: "6.1.0", CPUs: 2, CPU: "Some CPU @ 2.0 GHz", Memory: 8 << 30, Go: "go1.26"}
	all := report.Result{
		Scenario: "compare", Version: "v1.2.3", Began: began, Seconds: 632.4, Machine: machine,
		Setting: []report.Fact{{Name: "target", Value: "a local system, same machine"}, {Name: "load", Value: "1000/s for 10s after 2s of warm-up, open loop (Poisson, seed 1)"}, {Name: "note", Value: hostile}},
		Tables:  []report.Table{front}, Plots: plots(),
		Verdicts: []measure.Verdict{{Objective: "p99<5ms", Value: "1.2ms", Kept: true}, {Objective: "errors<=0%", Value: "0.4%"}, {Objective: hostile, Value: hostile}},
		Remarks:  []string{"Times count from when a request was due; service from when it was sent; start delay is between the two.", hostile},
	}
	little := report.Result{Scenario: "churn", Version: "v1.2.3", Began: began.Add(time.Hour), Seconds: 3, Machine: machine, Interrupted: true, Plots: []report.Plot{{Name: "Nothing yet", Shape: report.Line, X: report.Axis{Label: "time", Unit: "s"}, Y: report.Axis{Label: "rate", Unit: "/s"}}}}
	little.Tables = []report.Table{{Name: "faults", Of: "fault"}}
	little.Tables[0].Set("kill -9", report.Column{Name: "injected"}, 3)
	little.Tables[0].Set("kill -9", report.Column{Name: "violations", Better: report.Lower}, 0)
	return []report.Result{all, little}
}

// written is the path of the page of the results.
func written(t *testing.T, results []report.Result) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Write(dir, results); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, page.File)
}

// seen counts, for the plots in turn, how many dots of the canvas have each series'
// colour, of the scheme named.
func seen(b *browser, scheme string) [][]int {
	b.Helper()
	return evaluate[[][]int](b, fmt.Sprintf(`(() => {
		const plots = JSON.parse(document.getElementById('plots').textContent);
		return [...document.querySelectorAll('.plot canvas')].map((canvas) => {
			const plot = plots[canvas.closest('.plot').dataset.plot];
			const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
			copy.drawImage(canvas, 0, 0);
			const dots = copy.getImageData(0, 0, canvas.width, canvas.height).data;
			const found = new Map();
			for (let i = 0; i < dots.length; i += 4) {
				if (dots[i + 3] !== 255) continue;
				const colour = dots[i] << 16 | dots[i + 1] << 8 | dots[i + 2];
				found.set(colour, (found.get(colour) ?? 0) + 1);
			}
			return plot.series.map((s) => found.get(parseInt(s.pen[%q].slice(1), 16)) ?? 0);
		});
	})()`, scheme))
}

// wantSeen wants a line of every series of every plot.
func wantSeen(b *browser, scheme string) {
	b.Helper()
	got := seen(b, scheme)
	want := plots()
	if len(got) != len(want) {
		b.Fatalf("%d plots were drawn, want %d", len(got), len(want))
	}
	for n, p := range want {
		if len(got[n]) != len(p.Series) {
			b.Fatalf("%s: %d series, want %d", p.Name, len(got[n]), len(p.Series))
		}
		for s, dots := range got[n] {
			if dots < 40 {
				b.Errorf("%s, %s: %d dots of series %d", scheme, p.Name, dots, s)
			}
		}
	}
}

// The page draws every plot, on a light and on a dark screen, with its axes named.
func TestScreen(t *testing.T) {
	b := open(t)
	path := written(t, results())
	for _, scheme := range []string{"light", "dark"} {
		b.media("", scheme)
		b.load(path)
		wantSeen(b, scheme)
		b.picture(scheme)
	}
	b.media("", "light") // while it is shown
	wantSeen(b, "light")

	drawn := evaluate[[]string](b, `[...window.drawn]`)
	for _, p := range plots() {
		for _, a := range []report.Axis{p.X, p.Y} {
			if !slices.Contains(drawn, a.String()) {
				t.Errorf("%s: no axis says %q", p.Name, a)
			}
		}
	}
	for _, tick := range []string{"0.5", "100", "10,000,000", "1,000"} {
		if !slices.Contains(drawn, tick) {
			t.Errorf("no axis has a tick %q: %q", tick, drawn)
		}
	}
	if title := evaluate[string](b, `document.title`); title != "Revocast load test: compare, churn" {
		t.Errorf("the title is %q", title)
	}
	if images := evaluate[int](b, `document.querySelectorAll('img:not(.paper), .plot img').length`); images != 0 {
		t.Errorf("%d images were made of names", images)
	}
	if missed := evaluate[int](b, `document.querySelectorAll('.verdicts td.missed').length`); missed != 2 {
		t.Errorf("%d objectives show as missed, want 2", missed)
	}
	text := evaluate[string](b, `document.body.innerText`)
	for _, part := range []string{"Interrupted:", "1 of 3 objectives kept", "lower is better", "Nothing was measured", "Some CPU @ 2.0 GHz", "1000/s for 10s", hostile} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q", part)
		}
	}
	b.quiet(path)
}

// Pointing at a plot shows each series' value there; Enter on its name hides it; dragging
// enlarges a part, and clicking twice shows all again.
func TestPointing(t *testing.T) {
	b := open(t)
	path := written(t, results())
	b.media("", "light")
	b.load(path)
	at := evaluate[[]float64](b, `(() => {
		const over = document.querySelector('.plot .u-over');
		over.scrollIntoView({block: 'center'});
		const r = over.getBoundingClientRect();
		return [r.left + r.width * 0.6, r.top + r.height / 2];
	})()`)
	b.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, at[0], at[1]))
	b.media("", "light")
	values := evaluate[[]string](b, `[...document.querySelectorAll('.plot')[0].querySelectorAll('.u-series')].map((row) => row.innerText.replace(/\s+/g, ' '))`)
	if len(values) != 5 || !strings.HasSuffix(values[0], " ms") || !strings.Contains(values[1], "100 sidecars") || !strings.HasSuffix(values[1], " %") || !strings.HasSuffix(values[4], " %") {
		t.Errorf("pointing at the plot shows %q", values)
	}
	b.picture("pointing")
	evaluate[bool](b, `(document.querySelectorAll('.plot')[0].querySelectorAll('.u-series th')[1].dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'})))`)
	b.media("", "light")
	if hidden := seen(b, "light")[0]; hidden[0] > 0 || hidden[1] == 0 {
		t.Errorf("dots of the series after the first was hidden: %v", hidden)
	}
	ticks := func() []string {
		b.media("", "light")
		return evaluate[[]string](b, `(() => { const all = [...window.drawn]; window.drawn.clear(); return all; })()`)
	}
	ticks()
	left := input.MouseButtonLeft
	press := func(kind input.DispatchMouseEventType, x, y float64, clicks int64) {
		b.do(chromedp.MouseEvent(kind, x, y, func(p *input.DispatchMouseEventParams) {
			p.Button, p.ClickCount = left, clicks
		}))
	}
	press(input.DispatchMouseEventTypeMousePressed, at[0], at[1], 1)
	press(input.DispatchMouseEventTypeMouseMoved, at[0]+200, at[1], 0)
	press(input.DispatchMouseEventTypeMouseReleased, at[0]+200, at[1], 1)
	if part := ticks(); !slices.Contains(part, "5") || slices.Contains(part, "0.5") {
		t.Errorf("ticks of a part of 3 to 8 ms: %q", part)
	}
	for clicks := range int64(2) {
		press(input.DispatchMouseEventTypeMousePressed, at[0], at[1], clicks+1)
		press(input.DispatchMouseEventTypeMouseReleased, at[0], at[1], clicks+1)
	}
	if whole := ticks(); !slices.Contains(whole, "0.2") || !slices.Contains(whole, "20") {
		t.Errorf("ticks after all is shown again: %q", whole)
	}
	b.quiet(path)
}

// In a narrow window nothing is wider than the window but what can be scrolled.
func TestNarrow(t *testing.T) {
	b := open(t)
	path := written(t, results())
	b.do(chromedp.EmulateViewport(400, 800))
	b.media("", "light")
	b.load(path)
	if wide := evaluate[int](b, `document.documentElement.scrollWidth`); wide > 400 {
		t.Errorf("the page is %d wide in a window of 400", wide)
	}
	wantSeen(b, "light")
	b.picture("narrow")
	b.quiet(path)
}

// On paper and without scripts the drawings are shown, as wide as the page and no wider.
func TestPaper(t *testing.T) {
	b := open(t)
	path := written(t, results())
	b.media("", "dark")
	b.load(path)
	printed, err := chromedp.Run(b.ctx, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4)))
	if err != nil {
		t.Fatal(err)
	}
	b.leave("page.pdf", printed)
	if pages := bytes.Count(printed, []byte("/Type /Page\n")); !bytes.HasPrefix(printed, []byte("%PDF-")) || pages < 2 {
		t.Errorf("%d pages were printed, in %d bytes", pages, len(printed))
	}

	b.do(chromedp.EmulateViewport(703, 1000)) // A4 without its margins
	b.media("print", "dark")
	wantDrawings(b)
	if wide := evaluate[int](b, `document.documentElement.scrollWidth`); wide > 703 {
		t.Errorf("the page is %d wide on paper of 703", wide)
	}
	if ink := evaluate[string](b, `getComputedStyle(document.body).backgroundColor`); ink != "rgb(255, 255, 255)" {
		t.Errorf("the paper is %s", ink)
	}
	b.picture("print")

	b.call(chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	b.call(chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{}))
	b.load(path)
	wantDrawings(b)
	b.quiet(path)
}

// wantDrawings wants a drawing shown for each plot, and none on a canvas.
func wantDrawings(b *browser) {
	b.Helper()
	images := evaluate[[]float64](b, `[...document.querySelectorAll('img.paper')].map((i) => i.checkVisibility() && i.complete && i.naturalWidth > 0 ? i.getBoundingClientRect().width : 0)`)
	if len(images) != len(plots()) {
		b.Errorf("%d drawings", len(images))
	}
	for n, wide := range images {
		if wide < 500 {
			b.Errorf("drawing %d is %v wide", n, wide)
		}
	}
	if canvases := evaluate[int](b, `[...document.querySelectorAll('canvas')].filter((c) => c.checkVisibility()).length`); canvases != 0 {
		b.Errorf("%d canvases are shown", canvases)
	}
}
