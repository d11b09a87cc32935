package introspect

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/revocast/revocast/events/tlsfiles"
)

const (
	// maxForm bounds a form in bytes: a token of the greatest length that is looked at,
	// and credentials.
	maxForm = 64 << 10
	// maxCredentials bounds an id or a secret in bytes.
	maxCredentials = 1024
)

var (
	// errCaller: who asks has not proved who it is.
	errCaller = errors.New("the caller did not prove who it is")
	// errForm: the request is not one of RFC 7662 section 2.1.
	errForm = errors.New("the request cannot be read in one way only")
)

// readForm reads the body once and whole.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return nil, errForm // a token in a query ends up in logs; whoever sends it shall know
	}
	types := r.Header["Content-Type"]
	if len(types) != 1 {
		return nil, errForm
	}
	if media, _, err := mime.ParseMediaType(types[0]); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, errForm
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errForm // the parser's words quote the body
	}
	for name, values := range form {
		if len(values) != 1 || !utf8.ValidString(name) || !utf8.ValidString(values[0]) {
			return nil, errForm
		}
	}
	return form, nil
}

// authenticate finds out who asks, or refuses with errCaller or errForm.
func (c Clients) authenticate(r *http.Request, form url.Values) error {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	given := r.Header["Authorization"]
	if len(given) > 1 || len(given) == 1 && secret != "" {
		return errForm // RFC 6749 section 2.3: one method
	}
	proved := false
	switch {
	case len(given) == 1:
		name, ok := c.byHeader(given[0])
		if !ok {
			return errCaller
		}
		if id != "" && id != name {
			return errForm
		}
		id, proved = name, true
	case secret != "":
		if len(id) > maxCredentials || len(secret) > maxCredentials || !c.bySecret(id, secret) {
			return errCaller
		}
		proved = true
	}
	if peer := tlsfiles.Peer(r.TLS); peer != nil {
		name := peer.Subject.CommonName
		if (proved || id != "") && id != name {
			// A certificate that proves another is no help, and no harm where a secret
			// has: all of a mesh's connections have one.
			if !proved || c.byCertificate(name) {
				return errCaller
			}
			return nil
		}
		proved = proved || c.byCertificate(name)
	}
	if !proved {
		return errCaller
	}
	return nil
}

// byHeader gives the client that an Authorization field proves.
func (c Clients) byHeader(field string) (id string, ok bool) {
	scheme, rest, _ := strings.Cut(field, " ")
	switch {
	case len(rest) > 8*maxCredentials:
		return "", false
	case strings.EqualFold(scheme, "Bearer"):
		return c.byBearer(strings.TrimLeft(rest, " "))
	case !strings.EqualFold(scheme, "Basic"):
		return "", false
	}
	// The halves are form-encoded before they are joined (RFC 6749 section 2.3.1).
	raw, err := base64.StdEncoding.Strict().DecodeString(rest)
	if err != nil || strings.ContainsAny(rest, "\r\n") {
		return "", false
	}
	first, second, found := strings.Cut(string(raw), ":")
	id, errID := url.QueryUnescape(first)
	secret, errSecret := url.QueryUnescape(second)
	if !found || errID != nil || errSecret != nil || len(id) > maxCredentials || len(secret) > maxCredentials {
		return "", false
	}
	return id, c.bySecret(id, secret)
}
