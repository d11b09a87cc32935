// Package token holds access tokens on their way into requests.
//
// Invariants:
//
//   - No token is printed, logged or part of an error.
package token

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of a file of tokens.
const (
	maxToken  = 16 << 10
	maxTokens = 1_000_000
)

const scheme = "Bearer "

// Token is an access token, or what poses as one; the zero Token is empty. It does not
// show when printed.
type Token struct {
	authorization string // as the Authorization field has it: made once, sent often
}

// New takes a token as it is.
func New(raw string) Token { return Token{scheme + raw} }

// Authorization is the value of the Authorization field (RFC 6750 section 2.1).
func (t Token) Authorization() string { return t.authorization }

// Raw is the token alone.
func (t Token) Raw() string { return strings.TrimPrefix(t.authorization, scheme) }

// String implements [fmt.Stringer].
func (t Token) String() string { return fmt.Sprintf("a token of %d bytes", len(t.Raw())) }

// GoString implements [fmt.GoStringer].
func (t Token) GoString() string { return t.String() }

// Read reads tokens, one a line: one at least and at most a million, of at most 16 KiB
// each. Blank lines and anything that is not a token (RFC 6750 section 2.1, b64token) are
// errors, which name the line and do not repeat it.
func Read(r io.Reader) ([]Token, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxToken)
	lines.Split(unixLines)
	var tokens []Token
	for lines.Scan() {
		switch {
		case len(tokens) == maxTokens:
			return nil, fmt.Errorf("reading tokens: more than %d", maxTokens)
		case !plausible(lines.Text()):
			return nil, fmt.Errorf("reading tokens: number %d is none", len(tokens)+1)
		}
		tokens = append(tokens, New(lines.Text()))
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("reading tokens: number %d is longer than %d bytes", len(tokens)+1, maxToken)
	case err != nil:
		return nil, fmt.Errorf("reading tokens: %w", err)
	case len(tokens) == 0:
		return nil, errors.New("reading tokens: there are none")
	}
	return tokens, nil
}

// unixLines is [bufio.ScanLines] that leaves carriage returns for the check to find.
func unixLines(data []byte, end bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if end && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// plausible reports whether a token is a b64token.
func plausible(token string) bool {
	body := strings.TrimRight(token, "=")
	return body != "" && len(token) <= maxToken && strings.IndexFunc(body, foreign) < 0
}

func foreign(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/", r)
}
