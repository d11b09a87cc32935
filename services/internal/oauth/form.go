package oauth

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxForm bounds a form in bytes.
const MaxForm = 64 << 10

// Form is the parameters of one request. It holds credentials, so it prints as a
// placeholder.
type Form struct{ values map[string]string }

// Get gives a parameter's value, "" where there is none. A parameter sent without
// a value is one not sent (RFC 6749 section 3.2).
func (f Form) Get(name string) string { return f.values[name] }

const redactedForm = "[form]"

// Format prints a placeholder whatever the verb.
func (Form) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redactedForm) }

// String gives the same placeholder.
func (Form) String() string { return redactedForm }

// ReadForm reads the body of r as application/x-www-form-urlencoded (RFC 6749
// appendix B), once and whole. Parameters in the query are refused rather than
// overlooked: whoever sends a token there should learn it. Every fault is an
// [*Error] with invalid_request: 413 beyond [MaxForm] bytes, else 400.
func ReadForm(w http.ResponseWriter, r *http.Request) (Form, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return Form{}, Refuse(InvalidRequest, "Parameters belong in the body, not in the query.")
	}
	if !isForm(r.Header["Content-Type"]) {
		return Form{}, Refuse(InvalidRequest, "Send the parameters as application/x-www-form-urlencoded in UTF-8.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxForm))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return Form{}, &Error{Code: InvalidRequest, Description: "The request is too large.", Status: http.StatusRequestEntityTooLarge}
		}
		return Form{}, Refuse(InvalidRequest, "The body could not be read.")
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		// The parser's own words quote the body.
		return Form{}, Refuse(InvalidRequest, "The parameters are not well-formed.")
	}
	form := Form{values: make(map[string]string, len(values))}
	for name, given := range values {
		switch {
		case len(given) != 1:
			return Form{}, Refuse(InvalidRequest, "A parameter is given more than once.")
		case !utf8.ValidString(name) || !utf8.ValidString(given[0]):
			return Form{}, Refuse(InvalidRequest, "A parameter is not UTF-8.")
		}
		form.values[name] = given[0]
	}
	return form, nil
}

func isForm(header []string) bool {
	if len(header) != 1 {
		return false
	}
	mediaType, params, err := mime.ParseMediaType(header[0])
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return false
	}
	charset, given := params["charset"]
	delete(params, "charset")
	return len(params) == 0 && (!given || strings.EqualFold(charset, "utf-8"))
}
