package signing

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

// Whatever is accepted is header and payload of a token that was signed.
func FuzzVerify(f *testing.F) {
	k := open(f, config(filled(f)))
	var signed []string
	for range 3 {
		token, err := k.Sign(access(f))
		if err != nil {
			f.Fatal(err)
		}
		signed = append(signed, token[:strings.LastIndexByte(token, '.')])
		f.Add(token)
	}
	f.Add(unsigned(`{"alg":"none","typ":"at+jwt"}`, `{}`) + ".")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		c, kid, err := k.Verify(token, noon())
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUntrusted) && !errors.Is(err, ErrExpired) && !errors.Is(err, ErrFuture) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if kid != k.first[0].public.described.ID || c.Subject != "u-7" || !slices.Contains(signed, token[:strings.LastIndexByte(token, '.')]) {
			t.Fatalf("accepted %q", token)
		}
	})
}

// What the header's reader accepts is exactly what its writer writes about a key.
func FuzzDissect(f *testing.F) {
	f.Add(`{"alg":"ES256","kid":"x","typ":"at+jwt"}`)
	f.Add(`{"alg":"ES256","alg":"none"}`)
	f.Fuzz(func(t *testing.T, head string) {
		got, err := dissect(unsigned(head, "{}") + ".AAAA")
		if err != nil {
			return
		}
		var lenient map[string]string
		if err := json.Unmarshal([]byte(head), &lenient); err != nil && head != "" {
			t.Fatalf("only the strict reader takes %q: %v", head, err)
		}
		if lenient["alg"] != got.head.Algorithm || lenient["kid"] != got.head.KeyID || lenient["typ"] != got.head.Type || len(lenient) > 3 {
			t.Fatalf("%q reads %+v, leniently %v", head, got.head, lenient)
		}
	})
}
