// Package depstest keeps the arrows between packages going one way: it asks the
// go command what a package really depends on, however indirectly, and compares
// that with a list of bans, each of which says why it is there.
//
// The linter bans direct imports file by file. That leaves two things for this
// package: what a dependency drags in behind one's back, and what ends up inside
// a binary.
//
// Invariants:
//
//   - Test files do not count: a test may use what the code it tests may not.
//   - A ban never passes because the go command failed or listed nothing.
//   - A ban that governs no package yet is named in the test's log.
package depstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Ban says what some packages must not depend on. Paths are import paths; one
// that ends in "/..." stands for itself and all below it.
type Ban struct {
	// Reason completes "because …" in the report. Never empty.
	Reason string
	// Of names the packages governed, Except those among them that are spared.
	Of, Except []string
	// Not names what they must not depend on.
	Not []string
	// StdOnly bans everything but the standard library, each other, and Allow.
	StdOnly bool
	Allow   []string
	// Direct looks at their own imports only, not at what those bring along.
	Direct bool
}

// Package is what this package reads of `go list -json`.
type Package struct {
	ImportPath string
	// Imports are direct, Deps all imports; neither counts test files.
	Imports, Deps []string
}

// Check lists the packages below dir, a directory inside a module, and reports
// to tb every dependency that a ban forbids. Go's test cache does not see what
// the go command reads: make check runs without it, go test by hand may not.
func Check(tb testing.TB, dir string, bans []Ban) {
	tb.Helper()
	packages, err := list(tb.Context(), dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range packages {
		tb.Logf("found %s", p.ImportPath)
	}
	for _, b := range bans {
		governed := 0
		for _, p := range packages {
			if !b.governs(p.ImportPath) {
				continue
			}
			governed++
			for _, dep := range b.Broken(p) {
				tb.Errorf("%s depends on %s, which is banned because %s", p.ImportPath, dep, b.Reason)
			}
		}
		if governed == 0 {
			tb.Logf("no package yet among %v", b.Of)
		}
	}
}

// Broken returns the dependencies of p that b forbids; none if b does not govern p.
func (b Ban) Broken(p Package) []string {
	if !b.governs(p.ImportPath) {
		return nil
	}
	deps := p.Deps
	if b.Direct {
		deps = p.Imports
	}
	var broken []string
	for _, dep := range deps {
		allowed := !b.StdOnly || standard(dep) || b.governs(dep) || matches(b.Allow, dep)
		if !allowed || matches(b.Not, dep) {
			broken = append(broken, dep)
		}
	}
	return broken
}

func (b Ban) governs(path string) bool {
	return matches(b.Of, path) && !matches(b.Except, path)
}

func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		below, all := strings.CutSuffix(pattern, "/...")
		return path == below || all && strings.HasPrefix(path, below+"/")
	})
}

// standard relies on what the go command itself relies on: only paths outside
// the standard library have a dot in their first element.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func list(ctx context.Context, dir string) ([]Package, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("listing packages below %s: %w: %s", dir, err, exit.Stderr)
	} else if err != nil {
		return nil, fmt.Errorf("listing packages below %s: %w", dir, err)
	}
	var packages []Package
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p Package
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading the package list of %s: %w", dir, err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("listing packages below %s: there are none", dir)
	}
	return packages, nil
}
