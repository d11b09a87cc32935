package report

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/perf/benchfmt"
)

// Bench is the result in the format of Go benchmarks, for benchstat: a line for each
// sample of each row, in base units, which benchstat scales. The machine's description
// is configuration, by which benchstat keeps results apart; the rest is comment.
func (r Result) Bench() []byte {
	var out bytes.Buffer
	comment := func(format string, args ...any) {
		line := strings.Map(visible, fmt.Sprintf(format, args...))
		_, _ = fmt.Fprintf(&out, "# %s\n", line) // a Buffer takes everything
	}
	comment("%s, %s, loadtest %s", r.Scenario, r.Began.Format(time.RFC3339), r.Version)
	for _, f := range r.Setting {
		comment("%s: %s", f.Name, f.Value)
	}
	if r.Interrupted {
		comment("Interrupted: this is what was measured until then.")
	}
	w := benchfmt.NewWriter(&out)
	better := r.directions()
	for _, t := range r.Tables {
		for _, c := range t.Columns {
			unit, _ := c.benchUnit()
			if b := better[unit]; b != "" {
				_ = w.Write(&benchfmt.UnitMetadata{UnitMetadataKey: benchfmt.UnitMetadataKey{Unit: unit, Key: "better"}, OrigUnit: unit, Value: string(b)})
				delete(better, unit)
			}
		}
	}
	var config []benchfmt.Config
	for _, c := range [][2]string{{"goos", r.Machine.OS}, {"goarch", r.Machine.Arch}, {"cpu", r.Machine.CPU}} {
		if value := strings.TrimSpace(strings.Map(visible, c[1])); value != "" {
			config = append(config, benchfmt.Config{Key: c[0], Value: []byte(value), File: true})
		}
	}
	for _, t := range r.Tables {
		for _, row := range t.Rows {
			// The number at the end is the CPUs by convention; without it, a number at
			// the end of the row's own name would be taken for that.
			name := fmt.Sprintf("%s/%s/%s=%s-%d", capital(benchToken(r.Scenario)), benchToken(t.Name), benchToken(t.Of), benchToken(row.Name), max(1, r.Machine.CPUs))
			for _, values := range t.benchLines(row) {
				_ = w.Write(&benchfmt.Result{Config: config, Name: benchfmt.Name(name), Iters: 1, Values: values})
			}
		}
	}
	return out.Bytes()
}

// directions says which way each unit improves; those that improve one way in one table
// and another way in the next are left out, as benchstat knows one for all.
func (r Result) directions() map[string]Better {
	better := map[string]Better{}
	for _, t := range r.Tables {
		for _, c := range t.Columns {
			unit, _ := c.benchUnit()
			if have, known := better[unit]; known && have != c.Better {
				better[unit] = ""
				continue
			}
			better[unit] = c.Better
		}
	}
	return better
}

// benchLines gives the row's samples: the first line has the first of every column that
// has one, and so on.
func (t Table) benchLines(row Row) [][]benchfmt.Value {
	var lines [][]benchfmt.Value
	for n, values := range row.Values {
		unit, factor := t.Columns[n].benchUnit()
		for i, v := range values {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				continue
			}
			for len(lines) <= i {
				lines = append(lines, nil)
			}
			lines[i] = append(lines[i], benchfmt.Value{Value: v * factor, Unit: unit})
		}
	}
	return slices.DeleteFunc(lines, func(values []benchfmt.Value) bool { return len(values) == 0 })
}

// benchUnit is the column as a unit, and what turns its values into that unit.
func (c Column) benchUnit() (string, float64) {
	unit, factor := c.Unit, 1.0
	switch c.Unit {
	case "ns":
		unit, factor = "sec", 1e-9
	case "µs", "us":
		unit, factor = "sec", 1e-6
	case "ms":
		unit, factor = "sec", 1e-3
	case "s":
		unit = "sec"
	case "kB":
		unit, factor = "B", 1e3
	case "MB":
		unit, factor = "B", 1e6
	case "KiB":
		unit, factor = "B", 1<<10
	case "MiB":
		unit, factor = "B", 1<<20
	case "GiB":
		unit, factor = "B", 1<<30
	}
	name := benchToken(c.Name)
	switch {
	case unit == "":
		return name, factor
	case strings.HasPrefix(unit, "/"):
		return name + benchToken(unit), factor
	}
	return name + "-" + benchToken(unit), factor
}

// benchToken makes a name one word without what benchstat's names are made of.
func benchToken(name string) string {
	slashes := strings.HasPrefix(name, "/")
	name = strings.Map(func(r rune) rune {
		if r == '/' || r == '=' || r == ':' || !unicode.IsPrint(r) || unicode.IsSpace(r) {
			return '-'
		}
		return r
	}, strings.TrimSpace(strings.TrimPrefix(name, "/")))
	if slashes {
		return "/" + name
	}
	if name == "" {
		return "-"
	}
	return name
}

func capital(name string) string {
	letters := []rune(name)
	letters[0] = unicode.ToUpper(letters[0])
	return string(letters)
}

// visible keeps a text on its line.
func visible(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}
