// Package strictyaml reads the issuer's YAML files: one document of bounded size
// whose every field is known and given once.
//
// Invariants:
//
//   - The faults of a file are reported together, each by its line.
//   - No report repeats any text of the file. These files hold passwords and
//     hashes, and a slip of the indentation makes a value out of a key and a key
//     out of a value.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxSize bounds a file in bytes.
const MaxSize = 1 << 20

// maxFaults bounds a report: beyond it the file is not one with a slip in it, it is
// another file.
const maxFaults = 50

// Read reads the file into v, a pointer to a struct, whose fields say with `yaml`
// tags what is known. After an error v must not be used.
func Read(file string, v any) error {
	data, err := readBounded(file)
	if err != nil {
		return err
	}
	if err := Decode(data, v); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}

func readBounded(file string) (data []byte, err error) {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err // names the file itself
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if data, err = io.ReadAll(io.LimitReader(f, MaxSize+1)); err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("reading %s: larger than %d bytes", file, MaxSize)
	}
	return data, nil
}

// Decode does the same with what has been read already.
func Decode(data []byte, v any) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	err := dec.Decode(v)
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty")
	}
	if err != nil {
		return faults(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("the file holds more than one document")
	}
	return nil
}

// faults keeps of the decoder's messages, which quote the file, the lines and the
// kinds.
func faults(err error) error {
	wrong, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return errors.New(line(err.Error()) + "not valid YAML")
	}
	var all []error
	var last string
	for _, text := range wrong.Errors {
		fault := line(text) + kind(text)
		if fault == last {
			continue
		}
		if last = fault; len(all) == maxFaults {
			all = append(all, errors.New("and more"))
			break
		}
		all = append(all, errors.New(fault))
	}
	return errors.Join(all...)
}

func line(text string) string {
	if m := regexp.MustCompile(`^(?:yaml: )?(line \d+): `).FindStringSubmatch(text); m != nil {
		return m[1] + ": "
	}
	return ""
}

func kind(text string) string {
	switch {
	case strings.Contains(text, "cannot unmarshal"):
		return "wrong type of value"
	case strings.Contains(text, "already"):
		return "field given twice"
	}
	return "unknown field"
}
