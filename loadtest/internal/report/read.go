package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrNotResult says that a file is something else than the result of a run.
var ErrNotResult = errors.New("not a result of loadtest")

// Read reads results: the files named, and all that are in the directories named or
// below them, each once. In directories, JSON that is no result is passed over, and so
// is what is hidden. The error joins what is wrong with each of them; what could be
// read is returned all the same.
func Read(paths ...string) ([]Result, error) {
	var (
		results []Result
		wrong   []error
		seen    = map[string]bool{}
	)
	for _, path := range paths {
		files, err := below(path)
		if err != nil {
			wrong = append(wrong, err)
		}
		more, err := readAll(files, seen)
		results, wrong = append(results, more...), append(wrong, err)
	}
	return results, errors.Join(wrong...)
}

// ReadDir reads the results in dir itself, as [Read] does. That there are none is no
// error.
func ReadDir(dir string) ([]Result, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading results: %w", err)
	}
	var files []candidate
	for _, e := range entries {
		if e.Type().IsRegular() && mayBeResult(e.Name()) {
			files = append(files, candidate{path: filepath.Join(dir, e.Name())})
		}
	}
	return readAll(files, map[string]bool{})
}

// candidate is a file that may be a result; one that was named has to be.
type candidate struct {
	path  string
	named bool
}

func mayBeResult(name string) bool {
	return strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, ".")
}

// below lists what may be results at path or below it.
func below(path string) ([]candidate, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading results: %w", err)
	}
	if !info.IsDir() {
		return []candidate{{path: path, named: true}}, nil
	}
	var files []candidate
	err = filepath.WalkDir(path, func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && at != path && strings.HasPrefix(e.Name(), "."):
			return filepath.SkipDir
		case e.Type().IsRegular() && mayBeResult(e.Name()):
			files = append(files, candidate{path: at})
		}
		return nil
	})
	if err != nil {
		return files, fmt.Errorf("reading results: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no results there; a run writes SCENARIO.json into the directory of --out", path)
	}
	return files, nil
}

func readAll(files []candidate, seen map[string]bool) ([]Result, error) {
	var (
		results []Result
		wrong   []error
	)
	for _, f := range files {
		absolute, err := filepath.Abs(f.path)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("reading %s: %w", f.path, err))
			continue
		}
		if seen[absolute] {
			continue
		}
		seen[absolute] = true
		r, err := readFile(f.path)
		switch {
		case err == nil:
			results = append(results, r)
		case f.named || !errors.Is(err, ErrNotResult):
			wrong = append(wrong, err)
		}
	}
	return results, errors.Join(wrong...)
}

// maxFile is more than any result takes, in bytes.
const maxFile = 256 << 20

func readFile(path string) (Result, error) {
	f, err := os.Open(path) //nolint:gosec // whoever runs this names what it reads
	if err != nil {
		return Result{}, fmt.Errorf("reading a result: %w", err)
	}
	defer func() { _ = f.Close() }() // opened for reading only
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Result{}, fmt.Errorf("reading a result: %w", err)
	}
	if len(text) > maxFile {
		return Result{}, fmt.Errorf("%s: %w: too large", path, ErrNotResult)
	}
	r, err := Parse(text)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Parse reads a result from JSON. The error is [ErrNotResult] for JSON that is something
// else.
func Parse(text []byte) (Result, error) {
	var valid json.RawMessage
	if err := json.Unmarshal(text, &valid); err != nil {
		return Result{}, fmt.Errorf("damaged: %w", err)
	}
	var is struct {
		Scenario string          `json:"scenario"`
		Began    json.RawMessage `json:"began"`
		Tables   json.RawMessage `json:"tables"`
	}
	if err := json.Unmarshal(text, &is); err != nil || is.Scenario == "" || is.Began == nil || is.Tables == nil {
		return Result{}, ErrNotResult
	}
	var r Result
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&r); err != nil {
		// Figures whose meaning is not known are not to be shown as if they were.
		if field, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
			return Result{}, fmt.Errorf("has the field %s, which this version does not know: read it with the loadtest that wrote it, %s", field, version(text))
		}
		return Result{}, fmt.Errorf("damaged: %w", err)
	}
	if err := r.check(); err != nil {
		return Result{}, fmt.Errorf("damaged: %w", err)
	}
	return r, nil
}

// version is what a result says that wrote it, whatever else it holds.
func version(text []byte) string {
	var by struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(text, &by); err != nil || by.Version == "" {
		return "a newer one"
	}
	return by.Version
}

// check joins what no run writes, and what the drawings rely on.
func (r Result) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	// It becomes part of the names of files.
	if !regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`).MatchString(r.Scenario) {
		fault("scenario %q: want a name of small letters", r.Scenario)
	}
	for _, t := range r.Tables {
		for _, c := range t.Columns {
			if c.Better != "" && c.Better != Lower && c.Better != Higher {
				fault("table %q, column %q: better is %q", t.Name, c.Name, c.Better)
			}
		}
		for _, row := range t.Rows {
			if len(row.Values) > len(t.Columns) {
				fault("table %q, row %q: %d values for %d columns", t.Name, row.Name, len(row.Values), len(t.Columns))
			}
		}
	}
	for _, p := range r.Plots {
		if p.Shape != Line && p.Shape != Step && p.Shape != Bars {
			fault("plot %q: shape is %q", p.Name, p.Shape)
		}
		for _, s := range p.Series {
			if err := s.check(p); err != nil {
				fault("plot %q, series %q: %w", p.Name, s.Name, err)
			}
		}
	}
	return errors.Join(faults...)
}

func (s Series) check(p Plot) error {
	if len(s.X) != len(s.Y) {
		return fmt.Errorf("%d values of x and %d of y", len(s.X), len(s.Y))
	}
	before := math.Inf(-1)
	for n, x := range s.X {
		if x < before {
			return fmt.Errorf("x falls from %v to %v", before, x)
		}
		if p.X.Log && x <= 0 || p.Y.Log && s.Y[n] <= 0 {
			return fmt.Errorf("point %v, %v on a logarithmic axis", x, s.Y[n])
		}
		before = x
	}
	return nil
}
