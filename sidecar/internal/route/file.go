package route

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/revocast/revocast/sidecar/internal/gate"
)

// maxFile bounds a file of rules in bytes.
const maxFile = 1 << 20

// entry is a rule as files have it.
type entry struct {
	Match     []string      `yaml:"match"`
	Anonymous bool          `yaml:"anonymous"`
	Scopes    []string      `yaml:"scopes"`
	Roles     []string      `yaml:"roles"`
	AnyRole   []string      `yaml:"any-role"`
	Audiences []string      `yaml:"audience"`
	ACR       []string      `yaml:"acr"`
	MaxAge    time.Duration `yaml:"max-age"`
	MaxStale  time.Duration `yaml:"max-stale"`
}

// Read reads a file of rules, a YAML list, and checks that they make a table. What is
// misspelt is refused.
func Read(file string) ([]Rule, error) {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("reading %s: larger than %d bytes", file, maxFile)
	}
	rules, err := parse(content)
	if err == nil {
		_, err = New(rules)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return rules, nil
}

func parse(content []byte) ([]Rule, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	var entries []entry
	if err := decoder.Decode(&entries); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("there are no rules in it")
		}
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if len(entries) == 0 {
		return nil, errors.New("there are no rules in it")
	}
	rules := make([]Rule, len(entries))
	for i, e := range entries {
		rules[i] = Rule{Match: e.Match, Anonymous: e.Anonymous, Ask: gate.Ask{
			Scopes: e.Scopes, Roles: e.Roles, AnyRole: e.AnyRole, Audiences: e.Audiences, ACR: e.ACR, MaxAge: e.MaxAge, MaxStale: e.MaxStale,
		}}
	}
	return rules, nil
}
