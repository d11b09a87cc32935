package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

type keysCommand struct {
	List   listKeysCommand  `cmd:"" help:"List the keys and where each stands."`
	Rotate rotateKeyCommand `cmd:"" help:"Make the key that follows."`
	Retire retireKeyCommand `cmd:"" help:"Sign nothing more with a key; its tokens live on."`
	Revoke revokeKeyCommand `cmd:"" help:"Deny everything that was signed with a key, at once: it was stolen."`
}

func (*keysCommand) Help() string {
	return `Every sidecar that follows the feed knows a new key before the first token is signed with it. Other verifiers read the key set: they want the overlap.

Examples:

  revocast keys rotate                 after the issuer's own --key-overlap
  revocast keys rotate --now           as soon as the sidecars know
  revocast keys rotate --use mac       the keys of refresh tokens
  revocast keys revoke "$KID" --reason stolen
`
}

// keyLine is a key as the admin API shows one.
type keyLine struct {
	ID        string     `json:"kid"`
	Use       string     `json:"use"`
	Algorithm string     `json:"alg"`
	Phase     string     `json:"phase"`
	Current   bool       `json:"current"`
	From      time.Time  `json:"not_before"`
	Until     *time.Time `json:"accepted_until"`
}

func (k keyLine) until() string {
	if k.Until == nil {
		return "-"
	}
	return moment(*k.Until)
}

// printKey prints one key, or what the API said of it.
func (t *terminal) printKey(k keyLine, text []byte) error {
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(text)))
	}
	t.table(
		[]string{"key", k.ID}, []string{"use", k.Use + ", " + k.Algorithm}, []string{"phase", k.Phase},
		[]string{"used from", moment(k.From)}, []string{"accepted until", k.until()},
	)
	return nil
}

type listKeysCommand struct{}

func (*listKeysCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	var list struct {
		Keys []keyLine `json:"keys"`
	}
	a, err := admin.call(ctx, http.MethodGet, "/admin/v1/keys")
	if err == nil {
		err = a.into(&list, http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("listing keys: %w", err)
	}
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(a.body)))
	}
	rows := [][]string{{"KEY", "USE", "ALGORITHM", "PHASE", "FROM", "ACCEPTED UNTIL", ""}}
	for _, k := range list.Keys {
		mark := ""
		if k.Current {
			mark = "in use"
		}
		rows = append(rows, []string{k.ID, k.Use, k.Algorithm, k.Phase, moment(k.From), k.until(), mark})
	}
	t.table(rows...)
	return nil
}

type rotateKeyCommand struct {
	Use     string        `enum:"sign,mac" default:"sign" help:"sign: access tokens; mac: refresh tokens."`
	Alg     string        `placeholder:"ALG" help:"Of a signing key: ES256 or RS256. Default: what the issuer signs with."`
	Overlap time.Duration `placeholder:"TIME" help:"How long the key is announced before it is used. Default: the issuer's --key-overlap."`
	Now     bool          `help:"As soon as the sidecars know of it, a few seconds from now."`
}

// Validate is called by kong.
func (c *rotateKeyCommand) Validate() error {
	switch {
	case c.Now && c.Overlap != 0:
		return errors.New("--now and --overlap: one of the two")
	case c.Overlap < 0:
		return errors.New("--overlap is negative")
	case c.Use == "mac" && c.Alg != "":
		return errors.New("--alg is for signing keys")
	}
	return nil
}

func (c *rotateKeyCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	in := map[string]string{"use": c.Use}
	if c.Alg != "" {
		in["alg"] = c.Alg
	}
	if c.Now || c.Overlap > 0 {
		in["overlap"] = cmp.Or(c.Overlap, time.Second).String()
	}
	var made keyLine
	a, err := admin.sendJSON(ctx, "/admin/v1/keys:rotate", in)
	if err == nil {
		err = a.into(&made, http.StatusCreated)
	}
	if err != nil {
		return fmt.Errorf("rotating the %s key: %w", c.Use, err)
	}
	return t.printKey(made, a.body)
}

type retireKeyCommand struct {
	Kid string `arg:"" name:"kid" help:"Which: its kid."`
}

func (c *retireKeyCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	var done keyLine
	a, err := admin.call(ctx, http.MethodDelete, "/admin/v1/keys/"+url.PathEscape(c.Kid))
	if err == nil {
		err = a.into(&done, http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("retiring key %s: %w", c.Kid, err)
	}
	return t.printKey(done, a.body)
}

type revokeKeyCommand struct {
	Kid    string `arg:"" name:"kid" help:"Which: its kid."`
	Reason string `placeholder:"CODE" help:"Why: a short code, kept in the history."`
}

func (c *revokeKeyCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	return (&revokeCommand{Kind: "key", ID: c.Kid, Reason: c.Reason}).Run(ctx, g, t)
}
