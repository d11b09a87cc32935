package strict

import (
	"math"
	"strings"
)

// Value is one JSON value inside an accepted object. The zero Value is of no
// type: every reader of it answers false.
type Value struct{ text string }

// Text reads a string.
func (v Value) Text() (string, bool) {
	if v.text == "" || v.text[0] != '"' {
		return "", false
	}
	raw := v.text[1 : len(v.text)-1]
	if strings.IndexByte(raw, '\\') >= 0 {
		return unescape(raw), true
	}
	return raw, true
}

// Texts reads an array of strings, or one string as an array of one, which is
// how JWT writes `aud` (RFC 7519 section 4.1.3).
func (v Value) Texts() ([]string, bool) {
	if one, ok := v.Text(); ok {
		return []string{one}, true
	}
	elements, ok := v.Elements()
	if !ok {
		return nil, false
	}
	texts := make([]string, len(elements))
	for i, e := range elements {
		if texts[i], ok = e.Text(); !ok {
			return nil, false
		}
	}
	return texts, true
}

// Elements reads an array.
func (v Value) Elements() ([]Value, bool) {
	if v.text == "" || v.text[0] != '[' {
		return nil, false
	}
	s := rescan(v.text)
	s.at++
	var all []Value
	for s.space(); !s.take(']'); s.space() {
		if s.take(',') {
			s.space()
		}
		begin := s.at
		if s.value(2) != nil { // 2: members of the elements are not collected
			return nil, false
		}
		all = append(all, Value{s.text[begin:s.at]})
	}
	return all, true
}

// Object reads an object.
func (v Value) Object() (Object, bool) {
	if v.text == "" || v.text[0] != '{' {
		return Object{}, false
	}
	s := rescan(v.text)
	if s.value(1) != nil {
		return Object{}, false
	}
	return Object{members: s.members}, true
}

// rescan walks a text that has been accepted before, so that no limit binds.
func rescan(text string) scanner {
	return scanner{text: text, limits: Limits{Depth: len(text), Members: len(text)}}
}

// maxSeconds is the last second of the year 9999, the last that RFC 3339 can
// write.
const maxSeconds = 253402300799

// Seconds reads a NumericDate (RFC 7519 section 2): seconds since 1970, not
// negative, within the year 9999. A fraction is cut off, and exact says whether
// there was none. A string of digits is not a number.
func (v Value) Seconds() (seconds int64, exact, ok bool) {
	if v.text == "" || v.text[0] < '0' || v.text[0] > '9' {
		return 0, false, false
	}
	f := parseNumber(v.text)
	if f < 0 || f > maxSeconds {
		return 0, false, false
	}
	whole := math.Floor(f)
	return int64(whole), whole == f, true
}
