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
	"strings"
	"time"
)

// admin is the issuer's admin listener with what proves the operator.
func (g *grammar) admin(t *terminal) (*api, error) {
	if g.AdminTokenFile == "" && g.AdminCert == "" {
		return nil, usage(errors.New("operators prove themselves: give --admin-token-file or REVOCAST_ADMIN_TOKEN_FILE"))
	}
	token := ""
	if g.AdminTokenFile != "" {
		text, err := t.readSecret("operator token", g.AdminTokenFile)
		if err != nil {
			return nil, err
		}
		token = string(text)
	}
	a, err := newAPI(g.AdminURL, token, g.AllowPlainHTTP)
	if err != nil {
		return nil, err
	}
	return a, a.secure(g.AdminCA, g.AdminCert, g.AdminKey)
}

type revokeCommand struct {
	Kind string `arg:"" enum:"token,session,subject,client,key,all" help:"What to deny: token, session, subject, client, key or all."`
	ID   string `arg:"" optional:"" help:"Its jti, sid, sub, client_id or kid; nothing for all."`

	Reason        string `placeholder:"CODE" help:"Why: a short code, kept in the history."`
	ExceptSession string `placeholder:"SID" help:"Spare this session of the subject."`
	Issuer        string `placeholder:"URL" help:"Whose tokens are meant, where not this issuer's own."`
	Scope         string `placeholder:"WHAT" help:"What a wide revocation cuts: sessions (the default) or access-tokens."`
}

func (*revokeCommand) Help() string {
	return `Revoking answers when the revocation is durable. By then most sidecars enforce it.

Examples:

  revocast revoke session 01890a5d-ac96-774b-bcce-b302099a8057 --reason lost_device
  revocast revoke subject "$SUB" --except-session "$SID"
  revocast revoke subject "$SUB" --scope access-tokens --reason roles_changed
`
}

// Validate is called by kong.
func (c *revokeCommand) Validate() error {
	switch {
	case c.Kind == "all" && c.ID != "":
		return errors.New("revoking all takes no ID")
	case c.Kind != "all" && c.ID == "":
		return fmt.Errorf("revoking a %s needs its ID", c.Kind)
	case c.Kind == "token" && strings.Count(c.ID, ".") == 2:
		return errors.New("a token is revoked by its jti; never give a token as an argument")
	}
	return nil
}

// revocationRequest is the body of POST /admin/v1/revocations.
type revocationRequest struct {
	Kind          string `json:"kind"`
	ID            string `json:"id"`
	Issuer        string `json:"issuer,omitempty"`
	Scope         string `json:"scope,omitempty"`
	Reason        string `json:"reason,omitempty"`
	ExceptSession string `json:"except_session,omitempty"`
}

// revocation is its answer.
type revocation struct {
	RevocationID string    `json:"revocation_id"`
	Kind         string    `json:"kind"`
	ID           string    `json:"id"`
	Position     string    `json:"position"`
	ExpiresAt    time.Time `json:"expires_at"`
	Reason       string    `json:"reason"`
}

func revoke(ctx context.Context, admin *api, r revocationRequest) (got revocation, text []byte, err error) {
	a, err := admin.sendJSON(ctx, "/admin/v1/revocations", r)
	if err != nil {
		return got, nil, err
	}
	return got, a.body, a.into(&got, http.StatusCreated)
}

func (c *revokeCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	admin, err := g.admin(t)
	if err != nil {
		return err
	}
	r := revocationRequest{
		Kind: c.Kind, ID: c.ID, Issuer: c.Issuer, Scope: c.Scope, Reason: c.Reason,
		ExceptSession: c.ExceptSession,
	}
	got, text, err := revoke(ctx, admin, r)
	if err != nil {
		return fmt.Errorf("revoking %s %s: %w", c.Kind, c.ID, err)
	}
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(text)))
	}
	t.table(
		[]string{"revoked", strings.TrimSpace(got.Kind + " " + got.ID)},
		[]string{"revocation", got.RevocationID},
		[]string{"reason", got.Reason},
		[]string{"position", cmp.Or(got.Position, "the earlier revocation's")},
		[]string{"denied until", moment(got.ExpiresAt)},
	)
	return nil
}

type sessionsCommand struct {
	tokenInput

	Subject string `placeholder:"SUB" help:"Whose, asked as an operator; without it the token's own."`
}

func (*sessionsCommand) Help() string {
	return `Examples:

  revocast sessions --token-file alice.json
  revocast sessions --subject 7c9e6679-7425-40de-944b-e07fc1f90ae7 --admin-token-file admin.token
`
}

// sessionList is the answer to both.
type sessionList struct {
	Sessions []struct {
		SID        string    `json:"sid"`
		DeviceName string    `json:"device_name"`
		ClientID   string    `json:"client_id"`
		StartedAt  time.Time `json:"started_at"`
		LastSeenAt time.Time `json:"last_seen_at"`
		Current    bool      `json:"current"`
	} `json:"sessions"`
}

func (c *sessionsCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	from, path, err := c.where(g, t)
	if err != nil {
		return err
	}
	var list sessionList
	a, err := from.call(ctx, http.MethodGet, path)
	if err == nil {
		err = a.into(&list, http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("listing sessions: %w", err)
	}
	if t.json {
		return t.printJSON(json.RawMessage(bytes.TrimSpace(a.body)))
	}
	rows := [][]string{{"SESSION", "DEVICE", "CLIENT", "STARTED", "LAST SEEN", ""}}
	for _, s := range list.Sessions {
		mark := ""
		if s.Current {
			mark = "this one"
		}
		rows = append(rows, []string{s.SID, cmp.Or(s.DeviceName, "-"), s.ClientID, moment(s.StartedAt), moment(s.LastSeenAt), mark})
	}
	t.table(rows...)
	return nil
}

func (c *sessionsCommand) where(g *grammar, t *terminal) (*api, string, error) {
	if c.Subject != "" {
		admin, err := g.admin(t)
		return admin, "/admin/v1/subjects/" + url.PathEscape(c.Subject) + "/sessions", err
	}
	l, err := t.readLogin(c.TokenFile)
	if err != nil {
		return nil, "", err
	}
	issuer, err := newAPI(cmp.Or(g.IssuerURL, l.IssuerURL, defaultIssuerURL), l.AccessToken, g.AllowPlainHTTP)
	return issuer, "/v1/sessions", err
}
