package strict_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/sidecar/internal/strict"
)

var limits = strict.Limits{Depth: 8, Members: 50}

func TestParseObjectRefuses(t *testing.T) {
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"m%d":0`, i)
		}
		return "{" + strings.TrimPrefix(b.String(), ",") + "}"
	}
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"nothing":                  {"", strict.ErrSyntax},
		"space":                    {"  ", strict.ErrSyntax},
		"array":                    {"[]", strict.ErrSyntax},
		"string":                   {`"a"`, strict.ErrSyntax},
		"null":                     {"null", strict.ErrSyntax},
		"open":                     {`{`, strict.ErrSyntax},
		"two objects":              {`{}{}`, strict.ErrSyntax},
		"trailing text":            {`{} x`, strict.ErrSyntax},
		"trailing NUL":             {"{}\x00", strict.ErrSyntax},
		"byte order mark":          {"\ufeff{}", strict.ErrSyntax},
		"trailing comma":           {`{"a":1,}`, strict.ErrSyntax},
		"leading comma":            {`{,"a":1}`, strict.ErrSyntax},
		"no colon":                 {`{"a" 1}`, strict.ErrSyntax},
		"no value":                 {`{"a":}`, strict.ErrSyntax},
		"bare name":                {`{a:1}`, strict.ErrSyntax},
		"single quotes":            {`{'a':1}`, strict.ErrSyntax},
		"comment":                  {`{/**/}`, strict.ErrSyntax},
		"form feed":                {"{\f}", strict.ErrSyntax},
		"array trailing comma":     {`{"a":[1,]}`, strict.ErrSyntax},
		"array without comma":      {`{"a":[1 2]}`, strict.ErrSyntax},
		"mismatched":               {`{"a":[1}`, strict.ErrSyntax},
		"word cut short":           {`{"a":tru}`, strict.ErrSyntax},
		"word in capitals":         {`{"a":True}`, strict.ErrSyntax},
		"NaN":                      {`{"a":NaN}`, strict.ErrSyntax},
		"infinity":                 {`{"a":-Infinity}`, strict.ErrSyntax},
		"leading zero":             {`{"a":01}`, strict.ErrSyntax},
		"plus":                     {`{"a":+1}`, strict.ErrSyntax},
		"bare point":               {`{"a":.5}`, strict.ErrSyntax},
		"point without digits":     {`{"a":1.}`, strict.ErrSyntax},
		"exponent without digits":  {`{"a":1e}`, strict.ErrSyntax},
		"hexadecimal":              {`{"a":0x10}`, strict.ErrSyntax},
		"huge exponent":            {`{"a":1e999}`, strict.ErrNumber},
		"tiny exponent":            {`{"a":1e-999}`, strict.ErrNumber},
		"endless number":           {`{"a":` + strings.Repeat("1", 41) + `}`, strict.ErrNumber},
		"open string":              {`{"a":"b}`, strict.ErrSyntax},
		"line break in string":     {"{\"a\":\"b\nc\"}", strict.ErrSyntax},
		"NUL in string":            {"{\"a\":\"b\x00c\"}", strict.ErrSyntax},
		"escaped NUL":              {`{"a":"\u0000"}`, strict.ErrString},
		"escaped NUL in name":      {`{"\u0000":1}`, strict.ErrString},
		"unknown escape":           {`{"a":"\x41"}`, strict.ErrSyntax},
		"short escape":             {`{"a":"\u00"}`, strict.ErrSyntax},
		"escape at the end":        {`{"a":"\`, strict.ErrSyntax},
		"unicode escape at end":    {`{"a":"\u`, strict.ErrSyntax},
		"lone high surrogate":      {`{"a":"\ud800"}`, strict.ErrString},
		"lone low surrogate":       {`{"a":"\udc00"}`, strict.ErrString},
		"two high surrogates":      {`{"a":"\ud800\ud800"}`, strict.ErrString},
		"surrogate, short escape":  {`{"a":"\ud800\u00"}`, strict.ErrSyntax},
		"not UTF-8":                {"{\"a\":\"\xff\"}", strict.ErrUTF8},
		"overlong UTF-8":           {"{\"a\":\"\xc0\xaf\"}", strict.ErrUTF8},
		"UTF-8 surrogate":          {"{\"a\":\"\xed\xa0\x80\"}", strict.ErrUTF8},
		"duplicate":                {`{"a":1,"a":1}`, strict.ErrDuplicate},
		"duplicate apart":          {`{"a":1,"b":{"a":2},"a":3}`, strict.ErrDuplicate},
		"duplicate by escape":      {`{"iss":1,"\u0069ss":2}`, strict.ErrDuplicate},
		"duplicate inside":         {`{"a":{"b":1,"b":2}}`, strict.ErrDuplicate},
		"duplicate inside arrays":  {`{"a":[[{"b":1,"b":2}]]}`, strict.ErrDuplicate},
		"duplicate empty name":     {`{"":1,"":2}`, strict.ErrDuplicate},
		"too deep in objects":      {strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9), strict.ErrDepth},
		"too deep in arrays":       {`{"a":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + "}", strict.ErrDepth},
		"deep enough to overflow":  {`{"a":` + strings.Repeat("[", 1<<20), strict.ErrDepth},
		"too many members":         {members(51), strict.ErrMembers},
		"too many members, inside": {`{"a":` + members(51) + `}`, strict.ErrMembers},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := strict.ParseObject(c.text, limits); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if _, err := strict.ParseObject(members(50), limits); err != nil {
		t.Errorf("50 members: %v", err)
	}
	if _, err := strict.ParseObject(strings.Repeat(`{"a":`, 8)+"1"+strings.Repeat("}", 8), limits); err != nil {
		t.Errorf("8 deep: %v", err)
	}
	if _, err := strict.ParseObject("{}", strict.Limits{}); !errors.Is(err, strict.ErrDepth) {
		t.Errorf("zero limits: %v", err)
	}
}

func TestValues(t *testing.T) {
	o, err := strict.ParseObject(` {
		"text": "é\ud83d\ude00\"\\\/\b\f\n\r\t", "plain": "abc", "whole": 1795310000, "fraction": 1795310000.75,
		"power": 1.79531e9, "negative": -1, "late": 253402300800, "digits": "1795310000", "yes": true, "nothing": null,
		"texts": [ "a" , "b" ], "mixed": ["a", 1], "none": [],
		"object": {"in": {"a": 1}, "b": [{"c": 2}, {"c": 3}]}
	} `, limits)
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) strict.Value {
		v, ok := o.Get(name)
		if !ok || !o.Has(name) {
			t.Fatalf("%s is missing", name)
		}
		return v
	}
	if o.Has("c") || o.Has("in") || o.Has("Text") {
		t.Error("a member of an inner object, or of another case, is found outside")
	}
	if s, ok := get("text").Text(); !ok || s != "é😀\"\\/\b\f\n\r\t" {
		t.Errorf("text: %q, %v", s, ok)
	}
	for name, want := range map[string]struct {
		seconds   int64
		exact, ok bool
	}{
		"whole": {1795310000, true, true}, "fraction": {1795310000, false, true}, "power": {1795310000, true, true},
		"negative": {}, "late": {}, "digits": {}, "yes": {}, "nothing": {}, "texts": {}, "object": {},
	} {
		if s, exact, ok := get(name).Seconds(); s != want.seconds || exact != want.exact || ok != want.ok {
			t.Errorf("%s: %d, %v, %v", name, s, exact, ok)
		}
	}
	for name, want := range map[string][]string{"plain": {"abc"}, "texts": {"a", "b"}, "none": {}} {
		if got, ok := get(name).Texts(); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
	for _, name := range []string{"mixed", "whole", "object", "nothing"} {
		if got, ok := get(name).Texts(); ok {
			t.Errorf("%s reads as texts %q", name, got)
		}
	}
	inner, ok := get("object").Object()
	if !ok || !inner.Has("in") || !inner.Has("b") || inner.Has("a") {
		t.Fatalf("object: %+v", inner)
	}
	b, _ := inner.Get("b")
	elements, ok := b.Elements()
	if !ok || len(elements) != 2 {
		t.Fatalf("elements: %v", elements)
	}
	if last, ok := elements[1].Object(); !ok || !last.Has("c") {
		t.Error("the last element is not the object it was")
	}
	var zero strict.Value
	if _, ok := zero.Text(); ok {
		t.Error("the zero value is a text")
	}
	if _, ok := zero.Object(); ok {
		t.Error("the zero value is an object")
	}
	if _, ok := zero.Elements(); ok {
		t.Error("the zero value is an array")
	}
	if _, _, ok := zero.Seconds(); ok {
		t.Error("the zero value is a time")
	}
}

func TestDecodeBase64(t *testing.T) {
	for _, s := range []string{"YQ==", "YR", "Y", "Y Q", "YQ\n", "\rYQ", "Y+Q_", "Y/Q-", "YQ.", "YQ\x00", "é"} {
		if b, err := strict.DecodeBase64(s); !errors.Is(err, strict.ErrBase64) {
			t.Errorf("%q decodes to %x, %v", s, b, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		got, err := strict.DecodeBase64(base64.RawURLEncoding.EncodeToString(want))
		if err != nil || string(got) != string(want) {
			t.Fatalf("%x: %x, %v", want, got, err)
		}
	})
}

// What is accepted, encoding/json accepts and reads alike.
func FuzzParseObject(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":"b"}`, `{"a":[1,2.5,-3e2],"b":{"c":null}}`, `{"\u0069ss":"\ud83d\ude00"}`, `{"t":17.5e8}`,
		`{"a":"\ud800"}`, `{"a":1e99}`, "{\"a\":\"\xff\"}", `{"a":1,"a":2}`, `{"a":[{"b":[]},{}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := strict.ParseObject(text, limits)
		if err != nil {
			return
		}
		var lenient map[string]any
		if err := json.Unmarshal([]byte(text), &lenient); err != nil {
			t.Fatalf("%q: encoding/json refuses: %v", text, err)
		}
		for name, want := range lenient {
			v, ok := o.Get(name)
			if !ok {
				t.Fatalf("%q: member %q is not found", text, name)
			}
			same(t, v, want)
		}
	})
}

func same(t *testing.T, v strict.Value, want any) {
	t.Helper()
	switch want := want.(type) {
	case string:
		if got, ok := v.Text(); !ok || got != want {
			t.Fatalf("text %q, want %q", got, want)
		}
	case float64:
		if got, _, ok := v.Seconds(); ok && (float64(got) > want || float64(got) <= want-1) {
			t.Fatalf("%d seconds, want %f", got, want)
		}
	case []any:
		got, ok := v.Elements()
		if !ok || len(got) != len(want) {
			t.Fatalf("%d elements, want %d", len(got), len(want))
		}
		for i := range want {
			same(t, got[i], want[i])
		}
	case map[string]any:
		got, ok := v.Object()
		if !ok {
			t.Fatal("not an object")
		}
		for name := range want {
			inner, ok := got.Get(name)
			if !ok {
				t.Fatalf("member %q is not found", name)
			}
			same(t, inner, want[name])
		}
	}
}
