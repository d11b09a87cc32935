package config

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/alecthomas/kong"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/signals/provider"
)

// modeControl is the value of Mode beside an identity provider that is there already.
const modeControl = "control"

// Control reports whether this issuer logs nobody in and signs nothing.
func (c *Config) Control() bool { return c.Mode == modeControl }

// readProviders reads what --provider says.
func (c *Config) readProviders(add func(format string, args ...any)) {
	c.Providers = nil
	for _, rule := range c.Provider {
		p, err := provider.Parse(rule)
		switch {
		case err != nil:
			add("--provider: %w", err)
			continue
		case p.Issuer == events.Issuer(c.Issuer):
			add("--provider: %q is --issuer, this issuer itself", p.Issuer)
		case slices.ContainsFunc(c.Providers, func(have provider.Provider) bool { return have.Issuer == p.Issuer }):
			add("--provider: issuer %q is given twice", p.Issuer)
		}
		c.Providers = append(c.Providers, p)
	}
}

// meaningless reports whether a flag is about what an issuer in control mode does not do.
func meaningless(flag *kong.Flag) bool {
	return flag.Name == "clients" || flag.Name == "users" ||
		flag.Group != nil && slices.Contains([]string{"sessions", "keys", "throttling"}, flag.Group.Key)
}

// checkControl refuses what was said in vain. Whoever sets a lifetime of tokens expects
// tokens.
func (c *Config) checkControl(parsed *kong.Context) error {
	if !c.Control() {
		return nil
	}
	var faults []error
	for _, flag := range parsed.Model.Flags {
		if meaningless(flag) && given(parsed, flag) {
			faults = append(faults, fmt.Errorf("--%s: means nothing with --mode control, in which nobody logs in and nothing is signed; leave it out", flag.Name))
		}
	}
	return errors.Join(faults...)
}

// given reports whether the command line, the environment or the file says something
// about a flag. What is set to nothing is not set.
func given(parsed *kong.Context, flag *kong.Flag) bool {
	for _, name := range flag.Envs {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return slices.ContainsFunc(parsed.Path, func(p *kong.Path) bool { return p.Flag == flag })
}
