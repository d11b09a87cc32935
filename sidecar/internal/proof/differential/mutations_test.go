package differential

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// mutation changes a draft in one way. It says what it chose.
type mutation struct {
	name string
	at   stage
	do   func(r *rand.Rand, d *draft) string
}

// catalogue is every mutation, in an order that does not change. Those of members, which
// are the most various, stand in it more than once.
func catalogue() []mutation {
	members := slices.Concat(headerMutations(), payloadMutations())
	return slices.Concat(members, members, members, textMutations(), partMutations(), signatureMutations(), rawMutations())
}

// odd are JSON values of every type, and some that are none.
func odd() []string {
	return []string{
		`null`, `true`, `false`, `0`, `-0`, `-1`, `1.5`, `1e3`, `1E+99`, `1e-99`, `1e400`, `1e-400`, `-1e100`, `01`, `+1`, `.5`, `NaN`,
		strings.Repeat("1", 40), strings.Repeat("1", 41), `0.` + strings.Repeat("3", 50),
		`""`, `" "`, `"x"`, `" x"`, `"x "`, `"x\u0000"`, `"x\u0001y"`, `"x\u007f"`, `"x\u0085y"`, `"x\ny"`, `"\ud800"`, `"\udc00x"`,
		`"\ud83d\ude00"`, `"\u0041l"`, `"Äl😀"`, "\"x\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"x\x00\"", "\"x\ty\"", `"\x41"`, `'x'`,
		`"` + strings.Repeat("x", 300) + `"`,
		`[]`, `[null]`, `["x"]`, `["x","x"]`, `["x",1]`, `["x",["y"]]`, `["x\u0001"]`, `["x",]`,
		`{}`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":{"b":1,"\u0062":2}}`, `[{"b":[{"c":1,"c":1}]}]`,
		nest(1), nest(3), nest(4), nest(8), nest(9), nest(10), nest(40), nest(600),
	}
}

func nest(deep int) string { return strings.Repeat("[", deep) + strings.Repeat("]", deep) }

// place puts a value where the member of that name is, or at the end.
func place(members []member, name, value string) []member {
	name = jsonOf(name)
	for i := range members {
		if members[i].name == name {
			members[i].value = value
			return members
		}
	}
	return append(members, member{name, value})
}

// anyMember changes a member of one of the objects, known by name or not, in the ways
// that JSON offers.
func anyMember(of string, object func(*draft) *[]member, names []string) []mutation {
	at := func(name string, do func(r *rand.Rand, members []member) ([]member, string)) mutation {
		return mutation{of + ": " + name, atMembers, func(r *rand.Rand, d *draft) (did string) {
			all := object(d)
			if len(*all) == 0 {
				return "nothing left"
			}
			*all, did = do(r, *all)
			return did
		}}
	}
	return []mutation{
		at("another value", func(r *rand.Rand, all []member) ([]member, string) {
			name, value := pick(r, names), pick(r, odd())
			return place(all, name, value), name + "=" + strconv.Quote(value)
		}),
		at("one less", func(r *rand.Rand, all []member) ([]member, string) {
			i := r.IntN(len(all))
			name := all[i].name
			return slices.Delete(all, i, i+1), name
		}),
		at("one twice", func(r *rand.Rand, all []member) ([]member, string) {
			again := pick(r, all)
			if r.IntN(2) == 0 {
				again.value = pick(r, odd())
			}
			if r.IntN(3) == 0 {
				again.name = escapeOne(r, again.name)
			}
			return slices.Insert(all, r.IntN(len(all)+1), again), again.name + "=" + strconv.Quote(again.value)
		}),
		at("escaped name", func(r *rand.Rand, all []member) ([]member, string) {
			i := r.IntN(len(all))
			all[i].name = escapeOne(r, all[i].name)
			return all, all[i].name
		}),
		at("other case of a name", func(r *rand.Rand, all []member) ([]member, string) {
			i := r.IntN(len(all))
			all[i].name = strings.ToUpper(all[i].name)
			return all, all[i].name
		}),
		at("odd name", func(r *rand.Rand, all []member) ([]member, string) {
			name := pick(r, []string{`""`, `"\u0000"`, `"\ud800"`, "\"\xff\"", `"Äl"`, `1`, `null`, `x`, `"x" `, "\"x\n\"", `"__proto__"`})
			return append(all, member{name, "1"}), strconv.Quote(name)
		}),
		at("more members", func(r *rand.Rand, all []member) ([]member, string) {
			more := pick(r, []int{1, 10, 16, 17, 18, 112, 113, 114, 115, 300})
			for i := range more {
				all = append(all, member{fmt.Sprintf(`"m%d"`, i), "0"})
			}
			return all, strconv.Itoa(more)
		}),
		at("padding", func(r *rand.Rand, all []member) ([]member, string) {
			size := pick(r, []int{1_000, 5_000, 5_600, 6_000, 20_000})
			return place(all, "pad", `"`+strings.Repeat("p", size)+`"`), strconv.Itoa(size)
		}),
	}
}

// escapeOne writes one letter of a name, a JSON string, as \u and its number.
func escapeOne(r *rand.Rand, name string) string {
	if len(name) < 3 || strings.Contains(name, `\`) {
		return name
	}
	i := 1 + r.IntN(len(name)-2)
	return fmt.Sprintf(`%s\u%04x%s`, name[:i], name[i], name[i+1:])
}

// oneOf gives a member of the header or payload one of some values, JSON texts.
func oneOf(object func(*draft) *[]member, name string, values ...string) mutation {
	return mutation{name, atMembers, func(r *rand.Rand, d *draft) string {
		value := pick(r, values)
		all := object(d)
		*all = place(*all, name, value)
		return "= " + strconv.Quote(value)
	}}
}

func headerOf(d *draft) *[]member  { return &d.header }
func payloadOf(d *draft) *[]member { return &d.payload }

func headerMutations() []mutation {
	names := []string{
		"alg", "typ", "kid", "cty", "crit", "b64", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "zip", "enc", "iss", "unknown",
	}
	header := func(name string, values ...string) mutation { return oneOf(headerOf, name, values...) }
	return append(anyMember("header", headerOf, names),
		header("alg", `"ES256"`, `"RS256"`, `"EdDSA"`, `"Ed25519"`, `"none"`, `"None"`, `"HS256"`, `"ES384"`, `"ES256K"`, `"PS256"`, `"RS384"`,
			`"es256"`, `"ES256 "`, `""`, `["ES256"]`),
		header("typ", `"application/at+jwt"`, `"AT+JWT"`, `"Application/At+Jwt"`, `"JWT"`, `"at+JWT "`, `"logout+jwt"`, `"secevent+jwt"`, `"dpop+jwt"`,
			`"statuslist+jwt"`, `"application/application/at+jwt"`, `"text/at+jwt"`, `"at\u002bjwt"`, `["at+jwt"]`, `""`, `"at+\u212awt"`),
		header("kid", `"ES256"`, `"RS256"`, `"EdDSA"`, `"es256"`, `"ES256 "`, `"ES256\u0000"`, `"\u0045S256"`, `"../../dev/null"`, `"x' OR '1'='1"`,
			`"`+strings.Repeat("k", 257)+`"`),
		header("crit", `[]`, `null`, `["exp"]`, `["b64"]`, `["unknown"]`, `"b64"`, `[1]`, `["alg"]`),
		header("b64", `true`, `false`, `null`, `"false"`),
		header("jku", `"https://evil.example/keys"`, `"https://id.example/keys"`, `null`),
		header("x5u", `"https://evil.example/chain"`, `null`),
		header("jwk", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, `{"kty":"oct","k":"AA"}`, `{}`, `null`),
		header("x5c", `["AA"]`, `[]`, `null`),
		header("cty", `"JWT"`, `"at+jwt"`, `"json"`),
		mutation{"header: alg and kid of another key", atMembers, func(r *rand.Rand, d *draft) string {
			other := pick(r, d.world.signers)
			d.header = place(place(d.header, "alg", jsonOf(other.Method.Alg())), "kid", jsonOf(other.ID))
			return other.ID
		}},
	)
}

func payloadMutations() []mutation {
	names := []string{
		"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "sid", "scope", "roles", "auth_time", "acr", "amr", "ssq", "tsq",
		"cnf", "events", "azp", "nonce", "unknown",
	}
	claim := func(name string, values ...string) mutation { return oneOf(payloadOf, name, values...) }
	times := mutation{"time", atMembers, func(r *rand.Rand, d *draft) string {
		name, value := pick(r, []string{"exp", "nbf", "iat", "exp", "nbf", "iat", "auth_time"}), timeText(r, d.now)
		d.payload = place(d.payload, name, value)
		return name + "=" + value
	}}
	us := jsonOf(tokentest.Audience)
	return append(anyMember("payload", payloadOf, names),
		times, times, times, times, times,
		claim("aud", us, `[`+us+`]`, `["other",`+us+`]`, `[`+us+`,`+us+`]`, `[]`, `["other"]`, `"other"`, `[`+us+`,1]`, `[`+us+`,null]`, `[[`+us+`]]`,
			`{"aud":`+us+`}`, `"https://api.example/"`, `"https://API.example"`, `"https:\/\/api.example"`, `" https://api.example"`, `[`+us+`," x"]`, `"*"`),
		claim("iss", `"https://id.example"`, `"https://id.example/"`, `"https://ID.example"`, `"http://id.example"`, `"https://evil.example"`,
			`["https://id.example"]`, `"https:\/\/id.example"`, `"https://id.example\u0000"`, `" https://id.example"`),
		claim("scope", `"read"`, `"read  write"`, `["read","write"]`, `""`, `"read\twrite"`),
		claim("roles", `"admin"`, `[]`, `["admin"]`, `["admin",null]`, `{"admin":true}`),
		claim("cnf", `{"jkt":"AA"}`, `{"x5t#S256":"AA"}`, `{}`, `null`),
		claim("events", `{"http://schemas.openid.net/event/backchannel-logout":{}}`, `{}`, `null`),
		claim("ssq", `"0:41"`, `"0:0"`, `"1:2:3"`, `"x"`, `""`, `41`),
		claim("tsq", `"0:42"`, `"-1:2"`, `"x"`, `42`),
		claim("auth_time", `"1795310000"`, `"yesterday"`, `-5`, `1e99`, `1795310000.75`),
		claim("sub", `"Äl😀ice"`, `"alice"`, `"a\\b\"c"`, `"alice\u0301"`, `"a\u2028b"`),
	)
}

// timeText is a moment at an edge of what counts, or far from all, in one of the ways
// to write it.
func timeText(r *rand.Rand, now time.Time) string {
	if r.IntN(6) == 0 {
		return pick(r, []string{
			`0`, `1`, `253402300799`, `253402300800`, `1e11`, `1e13`, `9223372036854775807`, `9223372036854775808`, `1e18`, `1e300`,
			`-1795310000`, `-0.5`, `"2026-11-22T00:00:00Z"`, `"2036-11-22T00:00:00Z"`, `"1795999999"`, `"1795310000"`, `"1e10"`, `"+1795999999"`, `" 1795999999"`,
			`0x6B021000`, `1_795_310_000`, `01795310000`, `1795310400.`, `1795310000.0000000000001`,
		})
	}
	edge := now.Add(pick(r, []time.Duration{-leeway, 0, leeway}))
	edge = edge.Add(pick(r, []time.Duration{
		-10 * time.Second, -time.Second, -500 * time.Millisecond, -time.Millisecond, 0, time.Millisecond, 500 * time.Millisecond, time.Second, 10 * time.Second,
	}))
	seconds, ms := edge.Unix(), edge.UnixMilli()%1000
	switch r.IntN(6) {
	case 0, 1:
		return fmt.Sprintf("%d.%03d", seconds, ms)
	case 2:
		digits := fmt.Sprintf("%d%03d", seconds, ms)
		return digits[:1] + "." + digits[1:] + pick(r, []string{"e9", "E9", "e+9", "e+09"})
	case 3:
		return fmt.Sprintf(`"%d"`, seconds)
	}
	return strconv.FormatInt(seconds, 10)
}

func textMutations() []mutation {
	at := func(name string, do func(r *rand.Rand, text string) string) mutation {
		return mutation{"text: " + name, atTexts, func(r *rand.Rand, d *draft) string {
			i := r.IntN(2)
			d.texts[i] = do(r, d.texts[i])
			return []string{"in header", "in payload"}[i]
		}}
	}
	return []mutation{
		at("space around", func(r *rand.Rand, s string) string {
			return pick(r, []string{" ", "\n", "\t\r\n", ""}) + s + pick(r, []string{" ", "\n", "\t\r\n", ""})
		}),
		at("space inside", func(_ *rand.Rand, s string) string { return strings.ReplaceAll(s, `,"`, " ,\r\n\t\"") }),
		at("odd space", func(r *rand.Rand, s string) string {
			odd := pick(r, []string{"\f", "\v", "\u00a0", "\ufeff", "\u2028", "\x00"})
			return pick(r, []string{odd + s, s + odd, strings.Replace(s, ",", ","+odd, 1)})
		}),
		at("more behind", func(r *rand.Rand, s string) string {
			return s + pick(r, []string{"{}", "x", ",", "}", "]", "\x00", "//", s, `{"sub":"root"}`})
		}),
		at("more before", func(r *rand.Rand, s string) string { return pick(r, []string{"{}", "[", "x", "null", ","}) + s }),
		at("not an object", func(r *rand.Rand, s string) string {
			return pick(r, []string{"", "null", "[]", "[" + s + "]", jsonOf(s), "1", `"a.b.c"`, "{"})
		}),
		at("syntax", func(r *rand.Rand, s string) string {
			return pick(r, []string{
				strings.TrimSuffix(s, "}"), strings.TrimSuffix(s, "}") + ",}", "{," + s[min(1, len(s)):], strings.ReplaceAll(s, `"`, "'"),
				strings.Replace(s, ",", "/**/,", 1), strings.Replace(s, ":", "=", 1), strings.Replace(s, ",", ",,", 1),
			})
		}),
		at("random byte", someByte),
		at("random byte", someByte),
	}
}

// someByte changes, adds or takes out one byte anywhere.
func someByte(r *rand.Rand, s string) string {
	if s == "" {
		return "\x00"
	}
	i, b := r.IntN(len(s)), string([]byte{byte(r.Uint32())})
	switch r.IntN(4) {
	case 0:
		return s[:i] + b + s[i:]
	case 1:
		return s[:i] + s[i+1:]
	case 2:
		return s[:i] + string([]byte{s[i] ^ 1<<r.IntN(8)}) + s[i+1:]
	}
	return s[:i] + b + s[i+1:]
}
