package introspect

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/verify"
)

// Handler answers, whatever the path it is mounted at. It is safe for concurrent use.
type Handler struct {
	clients Clients
	check   *front.Checker
}

// New makes a handler for those who may ask.
func New(clients Clients, check *front.Checker) *Handler { return &Handler{clients, check} }

// active is what a resource server learns of a token that passes (RFC 7662 section 2.2).
type active struct {
	Active   bool     `json:"active"`
	Type     string   `json:"token_type"`
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub,omitempty"`
	Audience any      `json:"aud,omitempty"`
	Client   string   `json:"client_id,omitempty"`
	Session  string   `json:"sid,omitempty"`
	ID       string   `json:"jti,omitempty"`
	Scope    string   `json:"scope,omitempty"`
	Roles    []string `json:"roles,omitempty"`
	Expires  int64    `json:"exp,omitempty"`
	IssuedAt int64    `json:"iat,omitempty"`
	Before   int64    `json:"nbf,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The form, or what the server reads of it behind a refusal.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(formWithin)) // where there are none, nobody has to be waited for
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "invalid_request")
		return
	}
	token, err := h.read(w, r)
	_, large := errors.AsType[*http.MaxBytesError](err)
	switch {
	case large:
		refuse(w, http.StatusRequestEntityTooLarge, "invalid_request")
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(w, http.StatusRequestTimeout, "invalid_request")
		return
	case errors.Is(err, errCaller):
		w.Header()["Www-Authenticate"] = []string{`Basic realm="introspection", charset="UTF-8"`, `Bearer realm="introspection"`}
		refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	case err != nil:
		refuse(w, http.StatusBadRequest, "invalid_request")
		return
	case wantsSigned(r.Header["Accept"]):
		refuse(w, http.StatusNotAcceptable, "invalid_request")
		return
	}
	_ = control.SetReadDeadline(time.Time{}) // it is there, and the server sets its own for the next
	h.answer(w, h.check.Token(r.Context(), token))
}

// read finds out who asks, as soon as can be, and about which token.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (token string, err error) {
	who, err := h.clients.greet(r)
	if err != nil {
		return "", err
	}
	if err := checkHeader(r); err != nil {
		return "", err
	}
	form, err := readForm(w, r)
	if err != nil {
		return "", err
	}
	if err := h.clients.authenticate(who, form); err != nil {
		return "", err
	}
	if token = form.Get("token"); token == "" {
		return "", errForm
	}
	return token, nil
}

func (h *Handler) answer(w http.ResponseWriter, a front.Answer) {
	fresh := a.Fresh()
	w.Header()[fresh.Name] = []string{fresh.Value}
	switch {
	case a.Decision.Status() == http.StatusServiceUnavailable:
		for _, f := range a.Refusal() {
			w.Header()[f.Name] = []string{f.Value}
		}
		refuse(w, http.StatusServiceUnavailable, "temporarily_unavailable")
	case a.Allowed() && a.Claims.Issuer != "": // in shadow mode what is not genuine is allowed too
		write(w, http.StatusOK, tell(&a.Claims))
	default:
		write(w, http.StatusOK, struct {
			Active bool `json:"active"`
		}{})
	}
}

func tell(c *verify.Claims) active {
	a := active{
		Active: true, Type: "Bearer", Issuer: string(c.Issuer), Subject: string(c.Subject), Client: string(c.Client),
		Session: string(c.Session), ID: string(c.ID), Scope: c.Scope, Roles: c.Roles.Slice(),
		Expires: seconds(c.Expires), IssuedAt: seconds(c.IssuedAt), Before: seconds(c.NotBefore), AuthTime: seconds(c.AuthTime),
		ACR: c.ACR, AMR: c.AMR.Slice(),
	}
	switch audience := c.Audience.Slice(); len(audience) {
	case 0:
	case 1:
		a.Audience = audience[0]
	default:
		a.Audience = audience
	}
	return a
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// wantsSigned reports whether a signed answer is the only one that will do (RFC 9701
// section 4).
func wantsSigned(accept []string) bool {
	signed := false
	for _, field := range accept {
		for one := range strings.SplitSeq(field, ",") {
			media, _, err := mime.ParseMediaType(one)
			if err != nil || media != "application/token-introspection+jwt" {
				return false
			}
			signed = true
		}
	}
	return signed
}

// refuse answers in the form of RFC 6749 section 5.2, without a word on why.
func refuse(w http.ResponseWriter, status int, code string) {
	write(w, status, struct {
		Error string `json:"error"`
	}{code})
}

func write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // of strings and numbers
		status, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may be gone
}
