package problem

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxBody bounds a JSON body in bytes.
const MaxBody = 64 << 10

// ReadJSON reads the body of r as exactly one JSON object into a T (a struct) and
// fills no field from anything but a member of exactly its name. Unknown and
// repeated members, text that is not UTF-8, a second value and a wrong type are
// refused. So two parties that read the body never read two different things
// (RFC 8259 section 4 leaves repeated members open).
//
// Every fault is a [*Error]: 415 for another content type, 413 for more than
// [MaxBody] bytes, 400 for the rest. encoding/json alone would match names in any
// case and let the last of two members win.
func ReadJSON[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var none T
	if !isJSON(r.Header["Content-Type"]) {
		return none, New(http.StatusUnsupportedMediaType, "Send the body as application/json in UTF-8.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return none, New(http.StatusRequestEntityTooLarge, "The body is larger than this endpoint takes.")
		}
		return none, New(http.StatusBadRequest, "The body could not be read.")
	}
	return DecodeJSON[T](body)
}

// DecodeJSON does the same for a text at hand, such as one line of many.
func DecodeJSON[T any](text []byte) (T, error) {
	var v, none T
	if jsontext.Value(text).Kind() != '{' {
		return none, New(http.StatusBadRequest, "The body is not a JSON object.")
	}
	if err := json.Unmarshal(text, &v, json.RejectUnknownMembers(true)); err != nil {
		return none, New(http.StatusBadRequest, fault(err))
	}
	return v, nil
}

// fault names the kind of fault and repeats nothing: a misplaced member may well
// be a password.
func fault(err error) string {
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return "The body has a member that this endpoint does not know."
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "The body has the same member twice."
	}
	if _, ok := errors.AsType[*json.SemanticError](err); ok {
		return "A member of the body has the wrong type."
	}
	return "The body is not valid JSON."
}

// isJSON takes application/json, alone or with the one charset JSON has
// (RFC 8259 section 8.1).
func isJSON(header []string) bool {
	if len(header) != 1 {
		return false
	}
	mediaType, params, err := mime.ParseMediaType(header[0])
	if err != nil || mediaType != "application/json" {
		return false
	}
	charset, given := params["charset"]
	delete(params, "charset")
	return len(params) == 0 && (!given || strings.EqualFold(charset, "utf-8"))
}
