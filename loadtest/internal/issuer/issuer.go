// Package issuer asks an issuer for what load is made of: sessions, fresh tokens,
// revocations. It speaks the same HTTP as any application.
//
// Invariants:
//
//   - No token or password is part of an error.
package issuer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/revocast/revocast/loadtest/internal/target"
)

// Issuer is one issuer. Safe for concurrent use.
type Issuer struct {
	// Public is its public listener.
	Public *target.Target
	// Admin is its operators' listener, and Operator the token that it takes; nil and
	// empty if nothing is to be revoked there.
	Admin    *target.Target
	Operator string
}

// RefusedError is an answer with another status than the one wanted.
type RefusedError struct {
	Status int
	// Code is the error code of the answer (RFC 6749 section 5.2) or the title of its
	// problem (RFC 9457); empty if it has neither.
	Code string
	// Outcome is what a refresh came to, such as "reuse"; empty if that is not said.
	Outcome string
}

// Error implements error.
func (r *RefusedError) Error() string {
	if r.Code == "" {
		return fmt.Sprintf("refused with %d %s", r.Status, http.StatusText(r.Status))
	}
	return fmt.Sprintf("refused with %d %s: %s", r.Status, http.StatusText(r.Status), r.Code)
}

// Over reports that the token presented is good for nothing any more: its session has
// ended.
func (r *RefusedError) Over() bool { return r.Code == "invalid_grant" }

// Decided reports that asking again gives the same answer. Otherwise the issuer could not
// tell, or would not now.
func (r *RefusedError) Decided() bool {
	return r.Status < http.StatusInternalServerError && r.Status != http.StatusTooManyRequests
}

// Login is who logs in, by which client.
type Login struct {
	Username, Password, Client string
}

// Grant is a session with its tokens. It does not show when printed.
type Grant struct {
	Access, Refresh, Session string
	// Lifetime is how long the access token is good for, from when it was answered.
	Lifetime time.Duration
	// Outcome is what a refresh came to, as the issuer calls it: "rotated", or
	// "concurrent" where the token had been used a moment ago and the same successor was
	// given again. Empty for a login.
	Outcome string
}

// String implements [fmt.Stringer].
func (g Grant) String() string { return "grant of session " + g.Session }

// GoString implements [fmt.GoStringer].
func (g Grant) GoString() string { return g.String() }

// LogIn starts a session. Its error is a [RefusedError] if the issuer answered.
func (i *Issuer) LogIn(ctx context.Context, l Login) (Grant, error) {
	body, err := json.Marshal(map[string]string{"username": l.Username, "password": l.Password, "client_id": l.Client})
	if err != nil {
		return Grant{}, fmt.Errorf("logging in: %w", err)
	}
	return grant(ctx, "logging in", i.Public, target.Request{Method: http.MethodPost, Path: "/v1/login", Type: "application/json", Body: body})
}

// Refresh exchanges a refresh token of the client for a new pair.
func (i *Issuer) Refresh(ctx context.Context, client, token string) (Grant, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {token}}
	return grant(ctx, "refreshing", i.Public, target.Request{
		Method: http.MethodPost, Path: "/oauth/token", Type: "application/x-www-form-urlencoded", Body: []byte(form.Encode()),
	})
}

// LogOut revokes a refresh token of the client, and so its session (RFC 7009). It returns
// once that is acknowledged.
func (i *Issuer) LogOut(ctx context.Context, client, token string) error {
	form := url.Values{"client_id": {client}, "token": {token}, "token_type_hint": {"refresh_token"}}
	a, err := i.Public.Ask(ctx, target.Request{
		Method: http.MethodPost, Path: "/oauth/revoke", Type: "application/x-www-form-urlencoded", Body: []byte(form.Encode()),
	})
	if err == nil && a.Status != http.StatusOK {
		err = refused(a)
	}
	if err != nil {
		return fmt.Errorf("logging out at %s: %w", i.Public.URL(), err)
	}
	return nil
}

func grant(ctx context.Context, what string, t *target.Target, q target.Request) (Grant, error) {
	var says struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		SessionID    string `json:"session_id"`
		ExpiresIn    int64  `json:"expires_in"`
	}
	header, err := ask(ctx, t, q, http.StatusOK, &says)
	if err != nil {
		return Grant{}, fmt.Errorf("%s at %s: %w", what, t.URL(), err)
	}
	if says.AccessToken == "" || says.ExpiresIn <= 0 {
		return Grant{}, fmt.Errorf("%s at %s: %w", what, t.URL(), errAnswer)
	}
	return Grant{
		Access: says.AccessToken, Refresh: says.RefreshToken, Session: says.SessionID,
		Lifetime: time.Duration(says.ExpiresIn) * time.Second, Outcome: header.Get(outcome),
	}, nil
}

// Revocation is what an operator revokes.
type Revocation struct {
	// Kind is token, session, subject, client, key or all, and ID names the one meant.
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
	// Issuer is whose tokens; empty for this issuer's own.
	Issuer string `json:"issuer,omitempty"`
	// ExpiresAt is how long it stands at least; zero for as long as it must. Another
	// issuer's tokens need it.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Reason    string    `json:"reason,omitempty"`
}

// Receipt is the acknowledgement of a revocation.
type Receipt struct {
	ID string `json:"revocation_id"`
	// Position is where it stands on the feed, as shard:sequence.
	Position string `json:"position"`
}

// Revoke returns once the revocation is acknowledged.
func (i *Issuer) Revoke(ctx context.Context, r Revocation) (Receipt, error) {
	var receipt Receipt
	body, err := json.Marshal(r)
	if err == nil {
		_, err = ask(ctx, i.Admin, target.Request{
			Method: http.MethodPost, Path: "/admin/v1/revocations", Authorization: "Bearer " + i.Operator, Type: "application/json", Body: body,
		}, http.StatusCreated, &receipt)
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("revoking a %s at %s: %w", r.Kind, i.Admin.URL(), err)
	}
	return receipt, nil
}

var errAnswer = errors.New("the answer is not what an issuer says")

// outcome is the field of an answer that says what a refresh came to.
const outcome = "X-Revocast-Refresh"

// ask wants an answer of that status, in JSON.
func ask(ctx context.Context, t *target.Target, q target.Request, want int, says any) (http.Header, error) {
	a, err := t.Ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if a.Status != want {
		return nil, refused(a)
	}
	// The decoder's report could repeat a part of a token.
	if json.Unmarshal(a.Body, says) != nil {
		return nil, errAnswer
	}
	return a.Header, nil
}

func refused(a target.Answer) error {
	var problem struct {
		Error string `json:"error"`
		Title string `json:"title"`
	}
	_ = json.Unmarshal(a.Body, &problem) // what is not JSON has no code
	return &RefusedError{Status: a.Status, Code: cmp.Or(problem.Error, problem.Title), Outcome: a.Header.Get(outcome)}
}
