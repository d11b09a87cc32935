package introspect

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/revocast/revocast/events/tlsfiles"
)

const (
	// maxForm bounds a form in bytes: a token of the greatest length that is looked at,
	// and credentials.
	maxForm = 64 << 10
	// maxCredentials bounds an id or a secret in bytes.
	maxCredentials = 1024
	// formWithin is how long a form may take to come, once its header is there.
	formWithin = time.Second
)

var (
	// errCaller: who asks has not proved who it is.
	errCaller = errors.New("the caller did not prove who it is")
	// errForm: the request is not one of RFC 7662 section 2.1.
	errForm = errors.New("the request cannot be read in one way only")
)

// caller is who asks, as far as that is proved.
type caller struct {
	id   string // proved by a header; "" for nobody yet
	peer string // the name of its certificate, if it has one
}

// greet finds out who asks by what comes before the form, or refuses with errCaller or
// errForm. Who shows nothing there may still prove itself in the form.
func (c Clients) greet(r *http.Request) (caller, error) {
	who := caller{}
	if peer := tlsfiles.Peer(r.TLS); peer != nil {
		who.peer = peer.Subject.CommonName
	}
	switch given := r.Header["Authorization"]; len(given) {
	case 0:
		return who, nil
	case 1:
		id, ok := c.byHeader(given[0])
		if !ok {
			return caller{}, errCaller
		}
		who.id = id
		return who, c.agree(who)
	default:
		return caller{}, errForm // RFC 6749 section 2.3: one method
	}
}

// checkHeader refuses what cannot be a form of RFC 7662 section 2.1.
func checkHeader(r *http.Request) error {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return errForm // a token in a query ends up in logs; whoever sends it shall know
	}
	types := r.Header["Content-Type"]
	if len(types) != 1 {
		return errForm
	}
	if media, _, err := mime.ParseMediaType(types[0]); err != nil || media != "application/x-www-form-urlencoded" {
		return errForm
	}
	return nil
}

// readForm reads the body once and whole.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
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

// authenticate finds out by the form, too, who asks, or refuses with errCaller or errForm.
func (c Clients) authenticate(who caller, form url.Values) error {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	switch {
	case who.id != "" && (secret != "" || id != "" && id != who.id):
		return errForm // RFC 6749 section 2.3: one method
	case who.id != "":
		return nil
	case secret == "":
		if !c.byCertificate(who.peer) || id != "" && id != who.peer {
			return errCaller
		}
		return nil
	case len(id) > maxCredentials || len(secret) > maxCredentials || !c.bySecret(id, secret):
		return errCaller
	}
	who.id = id
	return c.agree(who)
}

// agree refuses who has proved one id by a secret and another by its certificate. A
// certificate that proves nobody is no harm: all of a mesh's connections have one.
func (c Clients) agree(who caller) error {
	if who.peer != who.id && c.byCertificate(who.peer) {
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
