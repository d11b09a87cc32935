package oauth

import (
	"net/http"
	"strings"

	"github.com/revocast/revocast/services/internal/problem"
)

// MaxBearer bounds a bearer token in bytes.
const MaxBearer = 8 << 10

// Bearer takes the access token from the Authorization header (RFC 6750 section
// 2.1): from nowhere else, and from exactly one.
//
// Every fault is a [*problem.Error] with its challenge: 401 without a code where
// no bearer token was sent, 400 invalid_request where two were, 401 invalid_token
// for what cannot be one.
func Bearer(r *http.Request) (string, error) {
	headers := r.Header["Authorization"]
	inQuery := r.URL.Query().Has("access_token")
	if len(headers) > 1 || len(headers) == 1 && inQuery {
		return "", Challenge(http.StatusBadRequest, InvalidRequest, "Send one access token, in the Authorization header.")
	}
	if len(headers) == 0 {
		return "", NoCredentials()
	}
	// Schemes have no case (RFC 9110 section 11.1).
	scheme, token, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", NoCredentials()
	}
	if len(token) > MaxBearer || !isToken68(token) {
		return "", Challenge(http.StatusUnauthorized, InvalidToken, "The access token is malformed.")
	}
	return token, nil
}

// isToken68 is the b64token of RFC 6750 section 2.1.
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return s != ""
}

// NoCredentials is the answer to a request without a bearer token. It has no error
// code: there was nothing to be wrong (RFC 6750 section 3.1).
func NoCredentials() *problem.Error {
	return &problem.Error{
		Status: http.StatusUnauthorized, Detail: "Authenticate with an access token.",
		Challenge: `Bearer realm="` + realm + `"`,
	}
}

// Challenge is an answer of RFC 6750 section 3, its code in the challenge and its
// description there and in the body.
func Challenge(status int, code Code, description string) *problem.Error {
	description = describable(description)
	return &problem.Error{
		Status: status, Detail: description,
		Challenge: `Bearer realm="` + realm + `", error="` + string(code) + `", error_description="` + description + `"`,
	}
}
