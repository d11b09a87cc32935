package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// tokens is a token response (RFC 6749 section 5.1) as the issuer gives it.
type tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope,omitempty"`
	SessionID    string `json:"session_id,omitempty"`
}

// savedLogin is what --save writes: a token response with what is needed to go on.
// It decodes a bare token response, too.
type savedLogin struct {
	IssuerURL string    `json:"issuer_url"`
	ClientID  string    `json:"client_id"`
	ExpiresAt time.Time `json:"expires_at"`
	tokens
}

// readLogin reads a saved login, a token response, or a token alone, which then
// stands for the access and the refresh token.
func (t *terminal) readLogin(file string) (savedLogin, error) {
	text, err := t.readSecret("token", file)
	if err != nil {
		return savedLogin{}, err
	}
	var l savedLogin
	if bytes.HasPrefix(text, []byte("{")) {
		// The decoder's report would repeat what it could not read.
		if json.Unmarshal(text, &l) != nil {
			return savedLogin{}, errors.New("reading the token: neither a token nor JSON with an access_token")
		}
		return l, nil
	}
	l.AccessToken, l.RefreshToken = string(text), string(text)
	return l, nil
}

// keep prints the tokens, or saves them into p and prints what is no secret.
func (t *terminal) keep(l savedLogin, p *pendingFile) error {
	if p == nil {
		if t.json {
			return t.printJSON(l.tokens)
		}
		t.table([]string{"session", l.SessionID}, []string{"scope", l.Scope}, []string{"expires", moment(l.ExpiresAt)},
			[]string{"access token", l.AccessToken}, []string{"refresh token", l.RefreshToken})
		return nil
	}
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the login: %w", err)
	}
	if err := p.commit(append(text, '\n')); err != nil {
		return err
	}
	if t.json {
		return t.printJSON(map[string]any{
			"session_id": l.SessionID, "scope": l.Scope, "expires_at": l.ExpiresAt, "saved": p.target,
		})
	}
	t.table([]string{"session", l.SessionID}, []string{"scope", l.Scope}, []string{"expires", moment(l.ExpiresAt)},
		[]string{"saved in", p.target})
	return nil
}

func moment(at time.Time) string { return at.Local().Format(time.DateTime) }

type loginCommand struct {
	Username string `arg:"" help:"Who."`

	Client           string `default:"demo-mobile" placeholder:"ID" help:"The client that logs in (${default})."`
	PasswordFile     string `placeholder:"FILE" help:"Read the password from a file; - is standard input."`
	Save             string `placeholder:"FILE" help:"Keep the tokens in a file, mode 0600, and print none."`
	Scope            string `placeholder:"SCOPE" help:"Ask for less than all the client may have."`
	Audience         string `placeholder:"URL" help:"Ask for one of the client's audiences."`
	DeviceName       string `placeholder:"NAME" help:"What the session is called in lists."`
	DeviceID         string `placeholder:"ID" help:"The device's own id."`
	DeviceSecretFile string `placeholder:"FILE" help:"A secret that every refresh must bring; made if the file is not there."`
}

func (*loginCommand) Help() string {
	return `The password is asked for without echo, or comes from --password-file or the variable REVOCAST_PASSWORD.

Examples:

  revocast login alice --save alice.json
  revocast verify --token-file alice.json

  pass show alice | revocast login alice --password-file - -o json
  revocast login alice --save alice.json --device-secret-file alice.secret
`
}

func (c *loginCommand) Run(ctx context.Context, g *grammar, t *terminal) error {
	base := cmp.Or(g.IssuerURL, defaultIssuerURL)
	issuer, err := newAPI(base, "", g.AllowPlainHTTP)
	if err != nil {
		return err
	}
	request := map[string]string{"username": c.Username, "client_id": c.Client}
	if request["password"], err = t.readPassword(c.PasswordFile); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"scope": c.Scope, "audience": c.Audience, "device_name": c.DeviceName, "device_id": c.DeviceID,
	} {
		if value != "" {
			request[name] = value
		}
	}
	if c.DeviceSecretFile != "" {
		if request["device_secret"], err = t.deviceSecret(c.DeviceSecretFile); err != nil {
			return err
		}
	}
	return saving(c.Save, func(p *pendingFile) error {
		got, err := login(ctx, issuer, request)
		if err != nil {
			return fmt.Errorf("logging in: %w", err)
		}
		return t.keep(savedLogin{base, c.Client, got.expiry(), got}, p)
	})
}

// saving does something whose outcome goes into a file, if one is named, and leaves
// that as it was after an error.
func saving(file string, do func(*pendingFile) error) error {
	if file == "" {
		return do(nil)
	}
	p, err := openPending(file)
	if err != nil {
		return err
	}
	if err := do(p); err != nil {
		p.abandon()
		return err
	}
	return nil
}

// expiry is when the access token expires, by this machine's clock.
func (k tokens) expiry() time.Time {
	return time.Now().Add(time.Duration(k.ExpiresIn) * time.Second).UTC().Truncate(time.Second)
}

func login(ctx context.Context, issuer *api, request map[string]string) (got tokens, err error) {
	a, err := issuer.sendJSON(ctx, "/v1/login", request)
	if err != nil {
		return got, err
	}
	return got, a.into(&got, http.StatusOK)
}
