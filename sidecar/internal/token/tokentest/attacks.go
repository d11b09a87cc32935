package tokentest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/token"
)

// Attack is a token that nothing may take.
type Attack struct {
	Name  string
	Token string
	// Fault is the one of package token's errors that it is refused with.
	Fault error
	// Blank says that nothing is wrong with the token but white space around it. A
	// header field does not carry that (RFC 9110 sections 5.5 and 11.4): what arrives
	// is the good token.
	Blank bool
}

// Attacks are those of RFC 8725 and its successor, of what was found in JWT libraries
// since, and of JSON, each on a token of ours minted at the time at: a good one with one
// thing wrong, signed with a good key where the attacker's own signature is not the
// point. Theirs is trusted besides, and so is same, which publishes other keys under our
// kids. They are sorted by their names, and no two
// have one.
func Attacks(t testing.TB, at time.Time, ours, theirs, same *Issuer) []Attack {
	t.Helper()
	f := forge{t: t, at: at, ours: ours, theirs: theirs, same: same, claims: ours.Claims(at)}
	f.good = ours.ES256.Sign(t, ours.ES256.Header(), f.claims)
	f.parts = strings.Split(f.good, ".")
	f.exp = fmt.Sprintf(`"exp":%d`, at.Add(5*time.Minute).Unix())
	all := slices.Concat(f.form(), f.otherForms(), f.json(), f.algorithms(), f.headers(), f.keys(), f.signatures(), f.parties(), f.times(), f.texts())
	slices.SortFunc(all, func(a, b Attack) int { return strings.Compare(a.Name, b.Name) })
	for i := range all[1:] {
		if all[i].Name == all[i+1].Name {
			t.Fatalf("two attacks have the name %q", all[i].Name)
		}
	}
	return all
}

// forge makes bad tokens.
type forge struct {
	t                  testing.TB
	at                 time.Time
	ours, theirs, same *Issuer
	claims             Object
	good               string
	parts              []string // of the good one
	exp                string   // the member
}

// head signs with another header, and body with other claims.
func (f *forge) head(changes Object) string {
	return f.ours.ES256.Sign(f.t, With(f.ours.ES256.Header(), changes), f.claims)
}

func (f *forge) body(changes Object) string {
	return f.ours.ES256.Sign(f.t, f.ours.ES256.Header(), With(f.claims, changes))
}

// rawHead and rawPayload sign what may be no JSON.
func (f *forge) rawHead(header string) string {
	return f.ours.ES256.Raw(f.t, header, Text(f.t, f.claims))
}

func (f *forge) rawPayload(payload string) string {
	return f.ours.ES256.Raw(f.t, Text(f.t, f.ours.ES256.Header()), payload)
}

// rawBody puts something in the place of something else in the claims' text.
func (f *forge) rawBody(old, changed string) string {
	payload := Text(f.t, f.claims)
	if !strings.Contains(payload, old) {
		f.t.Fatalf("%s is not in %s", old, payload)
	}
	return f.rawPayload(strings.Replace(payload, old, changed, 1))
}

// beside puts members behind the expiry.
func (f *forge) beside(members string) string { return f.rawBody(f.exp, f.exp+","+members) }

// resign gives the good token another signature.
func (f *forge) resign(signature []byte) string {
	return f.parts[0] + "." + f.parts[1] + "." + Encode(signature)
}

// form: what three parts of base64url are not.
func (f *forge) form() []Attack {
	h, p, s := f.parts[0], f.parts[1], f.parts[2]
	return []Attack{
		{Name: "nothing", Token: "", Fault: token.ErrMalformed},
		{Name: "one part", Token: h, Fault: token.ErrMalformed},
		{Name: "two parts", Token: h + "." + p, Fault: token.ErrMalformed},
		{Name: "four parts", Token: f.good + "." + s, Fault: token.ErrMalformed},
		{Name: "four parts, last empty", Token: f.good + ".", Fault: token.ErrMalformed},
		{Name: "dots", Token: "..", Fault: token.ErrMalformed},
		{Name: "empty header", Token: "." + p + "." + s, Fault: token.ErrMalformed},
		{Name: "empty payload", Token: h + ".." + s, Fault: token.ErrMalformed},
		{Name: "empty signature", Token: h + "." + p + ".", Fault: token.ErrMalformed},
		{Name: "space before", Token: " " + f.good, Fault: token.ErrMalformed, Blank: true},
		{Name: "space after", Token: f.good + " ", Fault: token.ErrMalformed, Blank: true},
		{Name: "tab before", Token: "\t" + f.good, Fault: token.ErrMalformed},
		{Name: "tab after", Token: f.good + "\t", Fault: token.ErrMalformed, Blank: true},
		{Name: "space inside", Token: h + ". " + p + "." + s, Fault: token.ErrMalformed},
		{Name: "line break after", Token: f.good + "\n", Fault: token.ErrMalformed, Blank: true},
		{Name: "line break inside", Token: h + "\n." + p + "." + s, Fault: token.ErrMalformed},
		{Name: "CRLF in the signature", Token: h + "." + p + "." + s[:4] + "\r\n" + s[4:], Fault: token.ErrMalformed},
		{Name: "a header field in the signature", Token: h + "." + p + "." + s[:4] + "\r\nX-Auth-Subject: root", Fault: token.ErrMalformed},
		{Name: "NUL after", Token: f.good + "\x00", Fault: token.ErrMalformed},
		{Name: "NUL before", Token: "\x00" + f.good, Fault: token.ErrMalformed},
		{Name: "NUL inside", Token: h + "." + p + "\x00." + s, Fault: token.ErrMalformed},
		{Name: "byte order mark", Token: "\ufeff" + f.good, Fault: token.ErrMalformed},
		{Name: "not UTF-8", Token: f.good + "\xff", Fault: token.ErrMalformed},
		{Name: "soft hyphen", Token: h + "\u00ad." + p + "." + s, Fault: token.ErrMalformed},
		{Name: "full stop look-alike", Token: strings.ReplaceAll(f.good, ".", "\u2024"), Fault: token.ErrMalformed},
		{Name: "padding", Token: f.good + "==", Fault: token.ErrMalformed},
		{Name: "padded header", Token: h + "=." + p + "." + s, Fault: token.ErrMalformed},
		{Name: "plus and slash", Token: h + "." + p + "." + "+/" + s[2:], Fault: token.ErrMalformed},
		{Name: "percent", Token: strings.ReplaceAll(f.good, ".", "%2e"), Fault: token.ErrMalformed},
		{Name: "trailing bits", Token: h + "." + p + "." + trailingBits(f.t, s), Fault: token.ErrMalformed},
		{Name: "a character short", Token: f.good[:len(f.good)-1], Fault: token.ErrMalformed}, // 85 characters are no base64url of anything
		{Name: "a byte short", Token: f.good[:len(f.good)-2], Fault: token.ErrUntrusted},      // 84 are, of 63 bytes: not a P-256 signature
		{Name: "in quotes", Token: `"` + f.good + `"`, Fault: token.ErrMalformed},
		{Name: "one mebibyte", Token: f.body(Object{"pad": strings.Repeat("a", 1<<20)}), Fault: token.ErrMalformed},
		{Name: "one mebibyte of header", Token: f.head(Object{"pad": strings.Repeat("a", 1<<20)}), Fault: token.ErrMalformed},
		{Name: "one mebibyte of signature", Token: f.good + strings.Repeat("A", 1<<20), Fault: token.ErrMalformed},
		{Name: "a mebibyte of dots", Token: strings.Repeat(".", 1<<20), Fault: token.ErrMalformed},
		{Name: "beyond the size", Token: f.body(Object{"pad": strings.Repeat("a", 8<<10)}), Fault: token.ErrMalformed},
	}
}

// otherForms: other serializations of JOSE, and other layers of it.
func (f *forge) otherForms() []Attack {
	h, p, s := f.parts[0], f.parts[1], f.parts[2]
	jwe := func(header Object) string {
		return Encode([]byte(Text(f.t, header))) + ".AAAA.AAAAAAAAAAAAAAAA." + p + ".AAAAAAAAAAAAAAAAAAAAAA"
	}
	return []Attack{
		{Name: "five parts", Token: f.good + ".a.b", Fault: token.ErrMalformed},
		{Name: "JWE, direct", Token: jwe(Object{"alg": "dir", "enc": "A256GCM", "cty": "JWT"}), Fault: token.ErrUntrusted},
		{Name: "JWE for our key", Token: jwe(Object{"alg": "RSA-OAEP", "enc": "A256GCM", "kid": f.ours.RS256.ID}), Fault: token.ErrUntrusted},
		// A billion rounds of PBKDF2 (CVE-2023-52428), and a bomb that unpacks (CVE-2024-28176).
		{Name: "JWE, p2c huge", Token: jwe(Object{"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2s": "AAAA", "p2c": 2147483647}), Fault: token.ErrUntrusted},
		{Name: "JWE, zip", Token: jwe(Object{"alg": "dir", "enc": "A256GCM", "zip": "DEF"}), Fault: token.ErrUntrusted},
		{Name: "JWE that names our algorithm", Token: jwe(f.ours.ES256.Header()), Fault: token.ErrMalformed},
		{Name: "JWS, deflated", Token: f.ours.ES256.Raw(f.t, Text(f.t, With(f.ours.ES256.Header(), Object{"zip": "DEF"})), deflated(f.t, 1<<20)), Fault: token.ErrMalformed},
		{Name: "JSON, flattened", Token: Text(f.t, Object{"protected": h, "payload": p, "signature": s}), Fault: token.ErrMalformed},
		{Name: "JSON, general", Token: Text(f.t, Object{"payload": p, "signatures": []Object{{"protected": h, "signature": s}}}), Fault: token.ErrMalformed},
		// A text that is a compact token to one parser and a JSON one to another (CVE-2022-39227).
		{Name: "JSON and compact", Token: `{" ` + h + `.` + Encode([]byte(Text(f.t, With(f.claims, Object{"sub": "root"})))) + `.":"","protected":"` + h + `","payload":"` + p + `","signature":"` + s + `"}`, Fault: token.ErrMalformed},
		{Name: "a token in a token", Token: f.ours.ES256.Raw(f.t, Text(f.t, With(f.ours.ES256.Header(), Object{"cty": "JWT"})), f.good), Fault: token.ErrMalformed},
		{Name: "detached payload", Token: f.ours.ES256.Raw(f.t, Text(f.t, f.ours.ES256.Header()), ""), Fault: token.ErrMalformed},
		{Name: "SD-JWT", Token: f.good + "~", Fault: token.ErrMalformed},
		{Name: "two tokens", Token: f.good + f.good, Fault: token.ErrMalformed},
	}
}

// json: what no two readers of JSON agree on.
func (f *forge) json() []Attack {
	header, payload := Text(f.t, f.ours.ES256.Header()), Text(f.t, f.claims)
	malformed := map[string]string{
		"header an array":          f.rawHead(`["alg","ES256"]`),
		"header two objects":       f.rawHead(header + `{}`),
		"header with a mark":       f.rawHead("\ufeff" + header),
		"header and garbage":       f.rawHead(header + "x"),
		"payload a string":         f.rawPayload(`"alice"`),
		"payload null":             f.rawPayload(`null`),
		"payload a number":         f.rawPayload(`1`),
		"payload an array":         f.rawPayload(`[` + payload + `]`),
		"payload two objects":      f.rawPayload(payload + payload),
		"payload and garbage":      f.rawPayload(payload + "x"),
		"payload and NUL":          f.rawPayload(payload + "\x00"),
		"payload with a mark":      f.rawPayload("\ufeff" + payload),
		"payload in UTF-16":        f.rawPayload(utf16(payload)),
		"payload not closed":       f.rawPayload(payload[:len(payload)-1]),
		"payload not UTF-8":        f.rawBody("alice", "al\xffce"),
		"overlong UTF-8":           f.rawBody("alice", "al\xc1\xa9ce"),
		"surrogate in UTF-8":       f.rawBody("alice", "al\xed\xa0\x80ce"),
		"payload with NUL":         f.rawBody("alice", "al\x00ce"),
		"escaped NUL":              f.rawBody("alice", `al\u0000ce`),
		"escaped NUL in a name":    f.beside(`"su\u0000b":"root"`),
		"lone surrogate":           f.rawBody("alice", `al\ud800ce`),
		"lone low surrogate":       f.rawBody("alice", `al\udc00ce`),
		"surrogates in disorder":   f.rawBody("alice", `al\udc00\ud800ce`),
		"lone surrogate in a name": f.beside(`"\ud800":1`),
		"bad escape":               f.rawBody("alice", `al\ice`),
		"alg twice":                f.rawHead(`{"alg":"none","typ":"at+jwt","kid":"ES256","alg":"ES256"}`),
		"alg twice, once escaped":  f.rawHead(`{"\u0061lg":"none","typ":"at+jwt","kid":"ES256","alg":"ES256"}`),
		"kid twice":                f.rawHead(`{"alg":"ES256","typ":"at+jwt","kid":"x","kid":"ES256"}`),
		"sub twice":                f.rawBody(`"sub":"alice"`, `"sub":"alice","sub":"bob"`),
		"sub twice, alike":         f.rawBody(`"sub":"alice"`, `"sub":"alice","sub":"alice"`),
		"sub twice, once escaped":  f.rawBody(`"sub":"alice"`, `"sub":"alice","\u0073ub":"bob"`),
		"exp twice":                f.beside(`"exp":1`),
		"twice, deep inside":       f.beside(`"x":{"y":[{"z":1,"z":2}]}`),
		"nested deeply":            f.beside(`"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000)),
		"objects nested deeply":    f.beside(`"x":` + strings.Repeat(`{"x":`, 500) + "1" + strings.Repeat("}", 500)),
		"nested and not closed":    f.rawPayload(strings.Repeat(`{"x":[`, 700)),
		"nested in the header":     f.rawHead(`{"alg":"ES256","typ":"at+jwt","kid":"ES256","x":[[[[[]]]]]}`),
		"a thousand members":       f.beside(strings.TrimPrefix(Members(1000), ",")),
		"members in the header":    f.rawHead(strings.TrimSuffix(header, "}") + Members(100) + "}"),
		"huge number elsewhere":    f.beside(`"x":1e400`),
		"tiny number elsewhere":    f.beside(`"x":1e-999999999`),
		"long number elsewhere":    f.beside(`"x":` + strings.Repeat("9", 4000)),
		"NaN elsewhere":            f.beside(`"x":NaN`),
		"Infinity elsewhere":       f.beside(`"x":-Infinity`),
		"comma at the end":         f.rawPayload(strings.TrimSuffix(payload, "}") + ",}"),
		"comment":                  f.rawPayload(strings.Replace(payload, "{", "{/*x*/", 1)),
		"single quotes":            f.beside(`'x':1`),
		"name without quotes":      f.beside(`x:1`),
		"form feed as space":       f.rawPayload("\f" + payload),
	}
	all := []Attack{{Name: "payload empty object", Token: f.rawPayload(`{}`), Fault: token.ErrUntrusted}} // of nobody
	for name, raw := range malformed {
		all = append(all, Attack{Name: name, Token: raw, Fault: token.ErrMalformed})
	}
	return all
}
