package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

type verifyCommand struct {
	tokenInput
}

func (*verifyCommand) Help() string {
	return `The sidecar is asked as a proxy would ask it. The exit status is 0 if the token passes and 1 if it does not.

Examples:

  revocast verify --token-file alice.json
  revocast verify --sidecar-url http://127.0.0.1:9480 -o json < token
`
}

// verdict is what a sidecar says of a token.
type verdict struct {
	// Verdict is "pass", "refused", or "undecided" when the sidecar cannot tell.
	Verdict   string            `json:"verdict"`
	Status    int               `json:"status"`
	Challenge string            `json:"www_authenticate,omitempty"`
	Headers   map[string]string `json:"headers"`
}

// The verdicts.
const (
	verdictPass      = "pass"
	verdictRefused   = "refused"
	verdictUndecided = "undecided"
)

// ask asks a sidecar whether the api's bearer token passes.
func ask(ctx context.Context, sidecar *api) (verdict, error) {
	a, err := sidecar.call(ctx, http.MethodGet, "/auth")
	if err != nil {
		return verdict{}, err
	}
	v := verdict{Status: a.status, Challenge: a.header.Get("WWW-Authenticate"), Headers: make(map[string]string)}
	switch a.status {
	case http.StatusOK:
		v.Verdict = verdictPass
	case http.StatusUnauthorized, http.StatusForbidden:
		v.Verdict = verdictRefused
	case http.StatusServiceUnavailable:
		v.Verdict = verdictUndecided
	default:
		return verdict{}, fmt.Errorf("this is no sidecar: %w", a.refusal())
	}
	for name, values := range a.header {
		if strings.HasPrefix(name, "X-Auth-") || strings.HasPrefix(name, "X-Revocast-") {
			v.Headers[name] = strings.Join(values, ", ")
		}
	}
	return v, nil
}

// revoked reports whether a bearer token was refused as no longer good (RFC 6750
// section 3.1).
func (v verdict) revoked() bool {
	return v.Status == http.StatusUnauthorized && strings.Contains(v.Challenge, `error="invalid_token"`)
}

func (c *verifyCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	l, err := t.readLogin(c.TokenFile)
	if err != nil {
		return err
	}
	sidecar, err := newAPI(cmp.Or(g.SidecarURL, defaultSidecarURL), l.AccessToken, g.AllowPlainHTTP)
	if err != nil {
		return err
	}
	v, err := ask(ctx, sidecar)
	if err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	if t.json {
		err = t.printJSON(v)
	} else {
		v.print(t)
	}
	if v.Verdict != verdictPass {
		err = errors.Join(err, fmt.Errorf("the token does not pass: %s", v.Verdict))
	}
	return err
}

func (v verdict) print(t *terminal) {
	rows := [][]string{{"verdict", v.Verdict}, {"status", fmt.Sprintf("%d %s", v.Status, http.StatusText(v.Status))}}
	if v.Challenge != "" {
		rows = append(rows, []string{"WWW-Authenticate", v.Challenge})
	}
	var names []string
	for name := range v.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		rows = append(rows, []string{name, v.Headers[name]})
	}
	t.table(rows...)
}
