package strict

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// name reads a member's name and decodes it, since "iss" and "\u0069ss" are one
// name to every reader of JSON.
func (s *scanner) name() (string, error) {
	raw, escaped, err := s.quoted()
	if err != nil {
		return "", err
	}
	if escaped {
		return unescape(raw), nil
	}
	return raw, nil
}

// quoted reads one string and returns what lies between its quotes.
func (s *scanner) quoted() (raw string, escaped bool, err error) {
	if !s.take('"') {
		return "", false, ErrSyntax
	}
	begin := s.at
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			raw = s.text[begin:s.at]
			s.at++
			return raw, escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return "", false, err
			}
		case c < 0x20:
			return "", false, ErrSyntax
		default:
			s.at++
		}
	}
	return "", false, ErrSyntax
}

func (s *scanner) escape() error {
	s.at++ // the backslash
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
		return nil
	case 'u':
	default:
		return ErrSyntax
	}
	r, ok := hex4(s.text[s.at+1:])
	if !ok {
		return ErrSyntax
	}
	s.at += 5
	switch {
	case r == 0:
		return ErrString
	case !utf16.IsSurrogate(r):
		return nil
	}
	if !strings.HasPrefix(s.text[s.at:], `\u`) {
		return ErrString
	}
	low, ok := hex4(s.text[s.at+2:])
	if !ok {
		return ErrSyntax
	}
	if utf16.DecodeRune(r, low) == utf8.RuneError {
		return ErrString
	}
	s.at += 6
	return nil
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for i := range 4 {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// unescape decodes what quoted has checked.
func unescape(raw string) string {
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			b = append(b, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, _ := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low, _ := hex4(raw[i+3:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			b = utf8.AppendRune(b, r)
		default: // quote, backslash and slash stand for themselves
			b = append(b, raw[i])
		}
	}
	return string(b)
}

const (
	// maxNumber is the longest number, in bytes. A float64 printed in full takes
	// 24.
	maxNumber = 40
	// maxExponent is the most digits of an exponent: with maxNumber it keeps
	// every number far inside a float64.
	maxExponent = 2
)

// number reads the grammar of RFC 8259 section 6.
func (s *scanner) number() error {
	begin := s.at
	s.take('-')
	if !s.take('0') && s.digits() == 0 {
		return ErrSyntax
	}
	if s.take('.') && s.digits() == 0 {
		return ErrSyntax
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		switch n := s.digits(); {
		case n == 0:
			return ErrSyntax
		case n > maxExponent:
			return ErrNumber
		}
	}
	if s.at-begin > maxNumber {
		return ErrNumber
	}
	return nil
}

func (s *scanner) digits() int {
	begin := s.at
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at - begin
}

// parseNumber reads what number has accepted; it cannot overflow.
func parseNumber(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return -1
	}
	return f
}
