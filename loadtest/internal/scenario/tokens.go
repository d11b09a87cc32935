package scenario

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

// Tokens are access tokens, never empty. They do not show when printed.
type Tokens struct {
	authorization []string // as the Authorization field has them
}

var errNoTokens = errors.New("reading tokens: there are none")

// NewTokens takes tokens as they are.
func NewTokens(tokens []string) (Tokens, error) {
	if len(tokens) == 0 {
		return Tokens{}, errNoTokens
	}
	ready := make([]string, len(tokens))
	for i, token := range tokens {
		if !plausible(token) {
			return Tokens{}, fmt.Errorf("reading tokens: number %d is none", i+1)
		}
		ready[i] = "Bearer " + token
	}
	return Tokens{ready}, nil
}

// ReadTokens reads tokens, one a line: at most a million, of at most 16 KiB each. Blank
// lines and anything that is not a token (RFC 6750 section 2.1, b64token) are errors,
// which name the line and do not repeat it.
func ReadTokens(r io.Reader) (Tokens, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxToken)
	lines.Split(unixLines)
	var tokens []string
	for lines.Scan() {
		if len(tokens) == maxTokens {
			return Tokens{}, fmt.Errorf("reading tokens: more than %d", maxTokens)
		}
		tokens = append(tokens, lines.Text())
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return Tokens{}, fmt.Errorf("reading tokens: number %d is longer than %d bytes", len(tokens)+1, maxToken)
	case err != nil:
		return Tokens{}, fmt.Errorf("reading tokens: %w", err)
	}
	return NewTokens(tokens)
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

// Len is how many there are.
func (t Tokens) Len() int { return len(t.authorization) }

// String implements [fmt.Stringer].
func (t Tokens) String() string { return fmt.Sprintf("%d tokens", t.Len()) }

// GoString implements [fmt.GoStringer].
func (t Tokens) GoString() string { return t.String() }

// turn gives the tokens in turn.
func (t Tokens) turn(n uint64) string { return t.authorization[n%uint64(len(t.authorization))] }
