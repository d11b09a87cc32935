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
