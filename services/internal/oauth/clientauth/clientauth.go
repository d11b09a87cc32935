// Package clientauth finds out which client sent a request (RFC 6749 sections 2.3
// and 3.2.1): client_secret_basic, client_secret_post, and none for public clients
// that only name themselves.
//
// Invariants:
//
//   - A request authenticates by one method or is refused.
//   - Every failure to prove who it is gets the same answer, invalid_client.
package clientauth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/services/internal/clients"
	"github.com/revocast/revocast/services/internal/oauth"
)

// maxCredentials bounds an id or a secret in bytes.
const maxCredentials = 1024

// Registry tells whether an id and a secret belong together; an empty secret is
// none. It takes the same time whether the client exists or not.
type Registry interface {
	Authenticate(id events.ClientID, secret string) (clients.Client, bool)
}

// Read reads a form and authenticates the client that sent it: how every OAuth
// endpoint begins.
func Read(w http.ResponseWriter, r *http.Request, registry Registry) (oauth.Form, clients.Client, error) {
	form, err := oauth.ReadForm(w, r)
	if err != nil {
		return oauth.Form{}, clients.Client{}, err
	}
	client, err := Authenticate(r.Header, form, registry)
	return form, client, err
}

// Authenticate gives the client that sent a request with the given header and form.
// It has proved who it is unless [clients.Client.Public] says that it cannot. Every
// fault is an [*oauth.Error]: invalid_request for two methods at once,
// invalid_client for the rest.
//
// An empty secret is the same as none, in either method (RFC 6749 section 2.3.1),
// so that a library that always sends the Authorization header can be a public
// client.
func Authenticate(header http.Header, form oauth.Form, registry Registry) (clients.Client, error) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	switch given := header["Authorization"]; {
	case len(given) > 1:
		return clients.Client{}, oauth.Refuse(oauth.InvalidRequest, "Authenticate once.")
	case len(given) == 1:
		basicID, basicSecret, ok := parseBasic(given[0])
		if !ok {
			return clients.Client{}, refused()
		}
		if secret != "" || id != "" && id != basicID {
			return clients.Client{}, oauth.Refuse(oauth.InvalidRequest, "Authenticate by one method, as one client.")
		}
		id, secret = basicID, basicSecret
	}
	if id == "" || len(id) > maxCredentials || len(secret) > maxCredentials {
		return clients.Client{}, refused()
	}
	client, ok := registry.Authenticate(events.ClientID(id), secret)
	if !ok {
		return clients.Client{}, refused()
	}
	return client, nil
}

func refused() error {
	return oauth.Refuse(oauth.InvalidClient, "The client is unknown or did not authenticate.")
}

// parseBasic reads RFC 7617 credentials whose halves are form-encoded first, which
// RFC 6749 section 2.3.1 adds and net/http does not know.
func parseBasic(header string) (id, secret string, ok bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") || len(encoded) > 8*maxCredentials || strings.ContainsAny(encoded, "\r\n") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", "", false
	}
	first, second, found := strings.Cut(string(raw), ":")
	id, errID := url.QueryUnescape(first)
	secret, errSecret := url.QueryUnescape(second)
	return id, secret, found && errID == nil && errSecret == nil
}
