package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

func refresh(ctx context.Context, issuer *api, form url.Values) (got tokens, err error) {
	form.Set("grant_type", "refresh_token")
	a, err := issuer.sendForm(ctx, "/oauth/token", form)
	if err != nil {
		return got, err
	}
	return got, a.into(&got, http.StatusOK)
}

// tokenInput is the flag of commands that use a token they are given.
type tokenInput struct {
	TokenFile string `default:"-" placeholder:"FILE" help:"A saved login, a token response or a token; default: standard input."`
}

type refreshCommand struct {
	tokenInput

	Client           string `placeholder:"ID" help:"The client, where the file does not say (demo-mobile)."`
	Save             string `placeholder:"FILE" help:"Keep the tokens in a file; a saved login is updated in any case."`
	DeviceSecretFile string `placeholder:"FILE" help:"The secret that the login gave."`
}

func (*refreshCommand) Help() string {
	return `A saved login is replaced in one step. Its file is made ready before the issuer is asked, so a rotated token does not get lost on a full disk.

Examples:

  revocast refresh --token-file alice.json
  revocast refresh --token-file alice.json --device-secret-file alice.secret
  revocast refresh --client demo-mobile -o json < refresh-token
`
}

func (c *refreshCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	old, err := t.readLogin(c.TokenFile)
	if err != nil {
		return err
	}
	if old.RefreshToken == "" {
		return errors.New("refreshing: the file holds no refresh token")
	}
	next := savedLogin{
		IssuerURL: cmp.Or(g.IssuerURL, old.IssuerURL, defaultIssuerURL),
		ClientID:  cmp.Or(c.Client, old.ClientID, "demo-mobile"),
	}
	issuer, err := newAPI(next.IssuerURL, "", g.AllowPlainHTTP)
	if err != nil {
		return err
	}
	form := url.Values{"refresh_token": {old.RefreshToken}, "client_id": {next.ClientID}}
	if c.DeviceSecretFile != "" {
		secret, err := t.readSecret("device secret", c.DeviceSecretFile)
		if err != nil {
			return err
		}
		form.Set("device_secret", string(secret))
	}
	file := c.Save
	if file == "" && old.IssuerURL != "" && c.TokenFile != stdin {
		file = c.TokenFile
	}
	return saving(file, func(p *pendingFile) error {
		if next.tokens, err = refresh(ctx, issuer, form); err != nil {
			return fmt.Errorf("refreshing: %w", err)
		}
		next.ExpiresAt = next.expiry()
		// A refresh names neither what has not changed.
		next.SessionID = cmp.Or(next.SessionID, old.SessionID)
		next.RefreshToken = cmp.Or(next.RefreshToken, old.RefreshToken)
		return t.keep(next, p)
	})
}

type logoutCommand struct {
	tokenInput
}

func (*logoutCommand) Help() string {
	return `The session ends for every token it ever issued, on every sidecar. Logging out twice is not an error.

Example:

  revocast logout --token-file alice.json
`
}

func (c *logoutCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	l, err := t.readLogin(c.TokenFile)
	if err != nil {
		return err
	}
	issuer, err := newAPI(cmp.Or(g.IssuerURL, l.IssuerURL, defaultIssuerURL), l.AccessToken, g.AllowPlainHTTP)
	if err != nil {
		return err
	}
	a, err := issuer.call(ctx, http.MethodDelete, "/v1/session")
	if err == nil {
		err = a.into(nil, http.StatusNoContent)
	}
	if err != nil {
		return fmt.Errorf("logging out: %w", err)
	}
	if t.json {
		return t.printJSON(map[string]bool{"logged_out": true})
	}
	t.printf("logged out\n")
	return nil
}
