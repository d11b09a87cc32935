package differential

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// view is a token as encoding/json and a lenient base64 read it. It shares no code with
// the verifier.
type view struct {
	size int
	// misspelt: a part is not what encoding its bytes gives.
	misspelt        bool
	header, payload document
	head, claims    map[string]json.RawMessage
}

// document is one of a token's two texts.
type document struct {
	text []byte
	// twice: an object names a member twice. strange: a string holds NUL or half of a
	// surrogate pair. long: a number is, or its exponent.
	twice, strange, long bool
	depth, members       int
}

func look(raw string) view {
	v := view{size: len(raw)}
	parts := append(strings.Split(raw, "."), "", "")
	for _, part := range parts {
		_, exact := decode(part)
		v.misspelt = v.misspelt || !exact
	}
	v.header, v.head = readDocument(parts[0])
	v.payload, v.claims = readDocument(parts[1])
	return v
}

// decode reads base64 of any spelling, and says whether it was ours.
func decode(part string) (b []byte, exact bool) {
	plain := strings.NewReplacer("\r", "", "\n", "", "=", "", "+", "-", "/", "_").Replace(part)
	b, err := base64.RawURLEncoding.DecodeString(plain)
	return b, err == nil && encode(string(b)) == part
}

func (v view) heads(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return v.head[name] != nil })
}

// spaced: there is white space before or behind the header's JSON. It is not part of
// the value that a parser hands on, and is part of what is signed.
func (v view) spaced() bool {
	return json.Valid(v.header.text) && len(bytes.TrimSpace(v.header.text)) < len(v.header.text)
}

// said is a header's text.
func (v view) said(name string) (text string) {
	if json.Unmarshal(v.head[name], &text) != nil {
		return ""
	}
	return text
}

var (
	named    = regexp.MustCompile(`malformed token: (\w+) is |decode value for key (\S+):`)
	position = regexp.MustCompile(`^"\d+:\d+"$`)
	quoted   = regexp.MustCompile(`"(?:\\.|[^"\\])*"`)
	numbers  = regexp.MustCompile(`-?\d[-+.\deE]*`)
	exponent = regexp.MustCompile(`[eE][-+]?\d{3}`)
	escapes  = regexp.MustCompile(`(?i)\\\\|\\u(?:d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|[0-9a-f]{4})`)
)

// named is the claim, or the header's parameter, that an error is about.
func (v view) named(err error) (name string, value json.RawMessage) {
	switch found := named.FindStringSubmatch(err.Error()); {
	case found == nil:
		return "", nil
	case found[1] != "":
		return found[1], v.claims[found[1]]
	default:
		return found[2], v.head[found[2]]
	}
}

// readDocument reads as much of a part as jwx does.
func readDocument(part string) (document, map[string]json.RawMessage) {
	text, _ := decode(part)
	d := document{text: text}
	text = bytes.TrimSpace(text)
	var members map[string]json.RawMessage
	read := json.NewDecoder(bytes.NewReader(text))
	if read.Decode(&members) != nil {
		return d, nil
	}
	text = text[:read.InputOffset()]
	d.walk(json.NewDecoder(bytes.NewReader(text)), 0)
	for _, each := range escapes.FindAll(text, -1) {
		half := len(each) == 6 && bytes.ContainsAny(each[2:3], "dD") && bytes.ContainsAny(each[3:4], "89abcdefABCDEF")
		d.strange = d.strange || half || string(each) == `\u0000`
	}
	for _, each := range numbers.FindAll(quoted.ReplaceAll(text, nil), -1) {
		d.long = d.long || len(each) > 40 || exponent.Match(each)
	}
	return d, members
}

// walk reads one value, so many deep.
func (d *document) walk(from *json.Decoder, deep int) {
	opened, err := from.Token()
	if delim, ok := opened.(json.Delim); err != nil || !ok || delim == ']' || delim == '}' {
		return
	}
	d.depth = max(d.depth, deep+1)
	names := map[string]bool{}
	for n := 1; from.More(); n++ {
		if opened == json.Delim('{') {
			name, err := from.Token()
			if err != nil {
				return
			}
			text, _ := name.(string)
			d.twice = d.twice || names[text]
			names[text] = true
			d.members = max(d.members, n)
		}
		d.walk(from, deep+1)
	}
	if _, err := from.Token(); err != nil && !errors.Is(err, io.EOF) {
		return
	}
}

// unclean: a text has a control character, or a space at an end.
func unclean(value json.RawMessage) bool {
	return slices.ContainsFunc(texts(value), func(s string) bool {
		return strings.ContainsFunc(s, unicode.IsControl) || strings.Trim(s, " ") != s
	})
}

func isTexts(value json.RawMessage) bool { return texts(value) != nil }

// texts are one string or an array of them; nil if value is neither.
func texts(value json.RawMessage) []string {
	var one *string
	if json.Unmarshal(value, &one) == nil && one != nil {
		return []string{*one}
	}
	var many []*string
	if json.Unmarshal(value, &many) != nil || many == nil || slices.Contains(many, nil) {
		return nil
	}
	list := []string{}
	for _, each := range many {
		list = append(list, *each)
	}
	return list
}

// beyond: a number of seconds after the last that RFC 3339 can write.
func beyond(value json.RawMessage) bool {
	seconds, ok := new(big.Rat).SetString(string(value))
	return ok && seconds.Cmp(big.NewRat(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix(), 1)) > 0
}

// secondOf reports whether the judge's time, less the leeway, lies in the second in which
// a time with a fraction lies.
func (e exhibit) secondOf(name string, leeway time.Duration) bool {
	value, ok := new(big.Rat).SetString(string(e.claims[name]))
	if !ok || value.IsInt() {
		return false
	}
	second := new(big.Int).Quo(value.Num(), value.Denom())
	return second.Int64() == e.now.Add(-leeway).Unix()
}
