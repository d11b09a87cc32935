package verify

import (
	"github.com/revocast/revocast/sidecar/internal/gate"
	"github.com/revocast/revocast/sidecar/internal/route"
)

// Rule says what is demanded of the requests that it takes: for the middleware.
type Rule = route.Rule

// Ask is what a rule demands of a token.
type Ask = gate.Ask

// ReadRules reads a file of rules, as the sidecar's --routes does.
func ReadRules(file string) ([]Rule, error) { return route.Read(file) }
