package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"html"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/loadtest/internal/measure"
	"github.com/revocast/revocast/loadtest/internal/report"
	"github.com/revocast/revocast/loadtest/internal/report/page"
)

// What is vendored is what its registry publishes: dist/ and LICENSE of
// https://registry.npmjs.org/uplot/-/uplot-1.6.32.tgz, SHA-256
// 4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d.
func TestVendored(t *testing.T) {
	sums := map[string]string{
		"uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"uPlot.min.css":     "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"LICENSE":           "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
	}
	files, err := filepath.Glob("vendored/*/*")
	if err != nil || len(files) != len(sums) {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); got != sums[filepath.Base(file)] {
			t.Errorf("%s has the SHA-256 %s", file, got)
		}
	}
}

const hostile = `"'></script></style><script>alert(1)</script><img src=x onerror=alert(1)>&lt;` + "\u2028"

func result() report.Result {
	r := report.Result{
		Scenario: "verify", Version: hostile, Began: time.Date(2026, time.November, 1, 12, 0, 0, 0, time.UTC), Seconds: 10,
		Machine: report.Machine{OS: "linux", Arch: "amd64", CPU: hostile, CPUs: 2, Go: "go1.26"},
		Setting: []report.Fact{{Name: hostile, Value: hostile}},
		Tables:  []report.Table{{Name: hostile, Of: hostile}},
		Plots: []report.Plot{{
			Name: hostile, Shape: report.Line, X: report.Axis{Label: hostile, Unit: hostile}, Y: report.Axis{Label: hostile, Unit: hostile},
			Series: []report.Series{{Name: hostile, X: []float64{1, 2, math.Inf(1)}, Y: []float64{3, 4, math.NaN()}}},
		}},
		Remarks:  []string{hostile},
		Verdicts: []measure.Verdict{{Objective: hostile, Value: hostile}, {Objective: "p99<5ms", Value: "3ms", Kept: true}},
	}
	r.Tables[0].Set("one", report.Column{Name: "p99", Unit: "ms", Better: report.Lower}, 3, 1, 2)
	r.Tables[0].Set("one", report.Column{Name: hostile, Unit: hostile}, 7)
	r.Tables[0].Set("two", report.Column{Name: "p99"}, 4)
	return r
}

// Whatever is in a result stays text: the page has the elements of its template, and
// its policy names the hash of each script and style in it.
func TestSafe(t *testing.T) {
	made, err := page.Of([]report.Result{result()})
	if err != nil {
		t.Fatal(err)
	}
	text := string(made)
	for element, want := range map[string]int{"<script": 3, "</script": 3, "<style": 1, "</style": 1, "<img": 1, "<meta": 4, "<link": 1, "<svg": 0} {
		if got := strings.Count(text, element); got != want {
			t.Errorf("%d times %s, want %d", got, element, want)
		}
	}
	found := regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(text)
	if found == nil {
		t.Fatal("no policy")
	}
	policy := html.UnescapeString(found[1])
	for _, part := range []string{"default-src 'none';", "base-uri 'none';", "form-action 'none';", "img-src data:;"} {
		if !strings.Contains(policy, part) {
			t.Errorf("no %s in %s", part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("the policy is %s", policy)
	}
	inline := regexp.MustCompile(`(?s)<(script|style)>(.*?)</(?:script|style)>`).FindAllStringSubmatch(text, -1)
	if len(inline) != 3 {
		t.Errorf("%d scripts and styles", len(inline))
	}
	for _, of := range inline {
		sum := sha256.Sum256([]byte(of[2]))
		directive := regexp.MustCompile(of[1] + `-src ([^;]*)`).FindString(policy)
		if !strings.Contains(directive, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Errorf("the policy does not name the %s of %d bytes: %s", of[1], len(of[2]), policy)
		}
	}
	// The licence of what is in the page is in the page.
	if !strings.Contains(text, "Copyright (c) 2022 Leon Sorokin") || !strings.Contains(text, "Permission is hereby granted") {
		t.Error("no licence of uPlot")
	}
}

// The data for the script is JSON, and leaves out what is no number.
func TestData(t *testing.T) {
	made, err := page.Of([]report.Result{result()})
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?s)<script type="application/json" id="plots">(.*?)</script>`).FindSubmatch(made)
	if found == nil {
		t.Fatal("no data")
	}
	var plots []struct {
		X      struct{ Title string }
		Series []struct {
			Name string
			X, Y []float64
		}
	}
	if err := json.Unmarshal(found[1], &plots); err != nil {
		t.Fatalf("%v in %s", err, found[1])
	}
	if len(plots) != 1 || plots[0].X.Title != hostile+" ("+hostile+")" || len(plots[0].Series) != 1 || plots[0].Series[0].Name != hostile || len(plots[0].Series[0].X) != 2 {
		t.Errorf("%+v", plots)
	}
}

// Cells show the median with the least and the most, heads their unit and direction.
func TestTable(t *testing.T) {
	made, err := page.Of([]report.Result{result()})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`<td>2 <small>1–3</small></td>`, `<td>7</td>`, `<tr><th scope="row">two</th><td>4</td><td>–</td></tr>`,
		`<th scope="col">p99 <span class="unit">ms</span> <small title="lower is better">↓<span class="hidden"> lower is better</span></small></th>`,
		`<td class="missed">missed</td>`, `<td class="kept">kept</td>`, `<dt>began</dt><dd>1 November 2026, 12:00:00 UTC</dd>`, `<dt>took</dt><dd>10s</dd>`,
	} {
		if !strings.Contains(string(made), part) {
			t.Errorf("no %s", part)
		}
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	if err := page.Write(dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, page.File)); err != nil {
		t.Error(err)
	}
	if err := page.Write(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "report.html") {
		t.Errorf("writing nowhere: %v", err)
	}
}
