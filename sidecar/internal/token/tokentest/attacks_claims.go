package tokentest

import (
	"fmt"
	"strings"
	"time"

	"github.com/revocast/revocast/sidecar/internal/token"
)

// parties: whose token it is, and for whom.
func (f *forge) parties() []Attack {
	ours := string(f.ours.ID())
	all := []Attack{
		{Name: "iss unknown", Token: f.body(Object{"iss": "https://evil.example"})},
		{Name: "iss with a slash", Token: f.body(Object{"iss": ours + "/"})},
		{Name: "iss with a fragment", Token: f.body(Object{"iss": ours + "#"})},
		{Name: "iss with a name in it", Token: f.body(Object{"iss": strings.Replace(ours, "://", "://id@", 1)})},
		{Name: "iss, a prefix", Token: f.body(Object{"iss": ours[:len(ours)-1]})},
		{Name: "iss in capitals", Token: f.body(Object{"iss": strings.ToUpper(ours)})},
		{Name: "iss with a space", Token: f.body(Object{"iss": ours + " "})},
		{Name: "iss missing", Token: f.body(Object{"iss": nil})},
		{Name: "iss null", Token: f.rawBody(fmt.Sprintf(`"iss":%q`, ours), `"iss":null`)},
		{Name: "iss an array", Token: f.body(Object{"iss": []string{ours}})},
		{Name: "Iss for iss", Token: f.body(Object{"iss": nil, "Iss": ours})},
		{Name: "aud of others", Token: f.body(Object{"aud": "https://other.example"})},
		{Name: "Aud for aud", Token: f.body(Object{"aud": "https://other.example", "Aud": Audience})},
		{Name: "aud of others, many", Token: f.body(Object{"aud": []string{"a", Audience + "/", "b"}})},
		{Name: "aud, a prefix", Token: f.body(Object{"aud": Audience[:8]})},
		{Name: "aud, a list in a string", Token: f.body(Object{"aud": "a " + Audience})},
		{Name: "aud, a pattern", Token: f.body(Object{"aud": "*"})},
		{Name: "aud empty", Token: f.body(Object{"aud": []string{}})},
		{Name: "aud an empty string", Token: f.body(Object{"aud": ""})},
		{Name: "aud missing", Token: f.body(Object{"aud": nil})},
		{Name: "logout token", Token: f.body(Object{"events": Object{"http://schemas.openid.net/event/backchannel-logout": Object{}}})},
	}
	for i := range all {
		all[i].Fault = token.ErrUntrusted
	}
	return append(all,
		Attack{Name: "aud null", Token: f.rawBody(fmt.Sprintf(`"aud":%q`, Audience), `"aud":null`), Fault: token.ErrMalformed},
		Attack{Name: "aud an object", Token: f.body(Object{"aud": Object{Audience: 1}}), Fault: token.ErrMalformed},
		Attack{Name: "aud mixed", Token: f.body(Object{"aud": []any{Audience, 1}}), Fault: token.ErrMalformed},
		Attack{Name: "aud in two arrays", Token: f.body(Object{"aud": []any{[]string{Audience}}}), Fault: token.ErrMalformed},
		Attack{Name: "bound to a key", Token: f.body(Object{"cnf": Object{"jkt": "AA"}}), Fault: token.ErrUnsupported},
		Attack{Name: "bound to a certificate", Token: f.body(Object{"cnf": Object{"x5t#S256": "AA"}}), Fault: token.ErrUnsupported},
		Attack{Name: "bound to nothing", Token: f.body(Object{"cnf": Object{}}), Fault: token.ErrUnsupported},
		Attack{Name: "bound to null", Token: f.beside(`"cnf":null`), Fault: token.ErrUnsupported},
	)
}

// times: those outside of which it is, and what is none.
func (f *forge) times() []Attack {
	all := []Attack{
		{Name: "exp missing", Token: f.body(Object{"exp": nil}), Fault: token.ErrMalformed},
		{Name: "EXP for exp", Token: f.body(Object{"exp": nil, "EXP": f.claims["exp"]}), Fault: token.ErrMalformed},
		{Name: "exp past, Exp to come", Token: f.body(Object{"exp": f.at.Add(-time.Hour).Unix(), "Exp": f.claims["exp"]}), Fault: token.ErrExpired},
		{Name: "expired", Token: f.body(Object{"exp": f.at.Add(-6 * time.Second).Unix()}), Fault: token.ErrExpired},
		{Name: "expired in 1970", Token: f.body(Object{"exp": 0}), Fault: token.ErrExpired},
		{Name: "expired, a small number", Token: f.rawBody(f.exp, `"exp":1e-9`), Fault: token.ErrExpired},
		{Name: "nbf in the future", Token: f.body(Object{"nbf": f.at.Add(time.Minute).Unix()}), Fault: token.ErrPremature},
		{Name: "nbf far in the future", Token: f.body(Object{"nbf": 253402300799}), Fault: token.ErrPremature},
		{Name: "iat in the future", Token: f.body(Object{"iat": f.at.Add(time.Minute).Unix()}), Fault: token.ErrPremature},
		{Name: "iat missing", Token: f.body(Object{"iat": nil}), Fault: token.ErrMalformed},
	}
	for name, number := range map[string]string{
		"null": `null`, "true": `true`, "a string": `"99999999999"`, "an empty string": `""`, "a string with an exponent": `"1e10"`,
		"an array": `[99999999999]`, "an object": `{}`, "a huge exponent": `1e999999999`, "1e400": `1e400`, "beyond all time": `1e18`,
		"beyond int64": `9223372036854775808`, "beyond uint64": `18446744073709551617`, "of a thousand digits": strings.Repeat("9", 1000),
		"in milliseconds": fmt.Sprint(f.at.Add(time.Minute).UnixMilli()), "negative": `-1`, "negative and huge": `-1e99`, "minus zero": `-0`,
		"in hex": `0x7fffffff`, "in octal": `017777777777`, "signed": `+99999999999`, "with a line": `9_9999_999_999`, "without a digit": `1e`,
		"with a point at the end": `9999999999.`, "with a point before": `.9e11`, "NaN": `NaN`, "Infinity": `Infinity`,
	} {
		all = append(all, Attack{Name: "exp " + name, Token: f.rawBody(f.exp, `"exp":`+number), Fault: token.ErrMalformed})
	}
	for name, number := range map[string]string{"null": `null`, "a string": `"0"`, "negative": `-1`, "huge": `1e99`, "false": `false`} {
		all = append(all,
			Attack{Name: "nbf " + name, Token: f.beside(`"nbf":` + number), Fault: token.ErrMalformed},
			Attack{Name: "iat " + name, Token: f.rawBody(fmt.Sprintf(`"iat":%d`, f.at.Unix()), `"iat":`+number), Fault: token.ErrMalformed},
		)
	}
	return all
}

// texts: what would be more than one header field, or another, once it is in one.
func (f *forge) texts() []Attack {
	changes := map[string]Object{
		"sub missing": {"sub": nil}, "sub empty": {"sub": ""}, "sub a number": {"sub": 1}, "sub an array": {"sub": []string{"alice"}},
		"SUB for sub": {"sub": nil, "SUB": "alice"}, "sub with a line break": {"sub": "alice\r\nX-Auth-Roles: admin"}, "sub with a CR": {"sub": "alice\rX"},
		"sub with a vertical tab": {"sub": "alice\v"}, "sub with an escape": {"sub": "alice\x1b[2J"}, "sub with a C1 control": {"sub": "alice\u0085"},
		"sub with DEL": {"sub": "alice\x7f"}, "sub with a space": {"sub": " alice"}, "sub with a space after": {"sub": "alice "},
		"scope with a tab": {"scope": "read\twrite"}, "scope with a line break": {"scope": "read\r\nwrite"}, "scope with a quote": {"scope": `read"`},
		"scope with two spaces": {"scope": "read  write"}, "scope an array": {"scope": []string{"read"}}, "scope a number": {"scope": 1},
		"role with a line break": {"roles": []string{"user", "x\nX-Auth-Subject: root"}}, "roles an object": {"roles": Object{"admin": true}},
		"roles of a number": {"roles": []any{"user", 1}}, "sid a number": {"sid": 1}, "sid with a line break": {"sid": "s\r\nX-Auth-Subject: root"},
		"jti missing": {"jti": nil}, "jti empty": {"jti": ""}, "jti a number": {"jti": 1}, "jti with a line break": {"jti": "j\n"},
		"client_id missing": {"client_id": nil}, "client_id with a line break": {"client_id": "demo\r\n\r\nGET / HTTP/1.1"},
		"acr with a line break": {"acr": "1\n2"}, "acr a number": {"acr": 1}, "amr with a line break": {"amr": []string{"pwd\n"}}, "auth_time a string": {"auth_time": "1"},
		"ssq no position": {"ssq": "41"}, "ssq a number": {"ssq": 41}, "tsq signed": {"tsq": "0:-1"}, "tsq out of range": {"tsq": "0:99999999999999999999"},
	}
	var all []Attack
	for name, c := range changes {
		all = append(all, Attack{Name: name, Token: f.body(c), Fault: token.ErrMalformed})
	}
	return all
}
