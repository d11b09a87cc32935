package tokentest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/sidecar/internal/token"
)

// algorithms: none, and those that nobody has asked for.
func (f *forge) algorithms() []Attack {
	unsigned := func(alg string) string {
		return Encode([]byte(Text(f.t, With(f.ours.ES256.Header(), Object{"alg": alg})))) + "." + f.parts[1] + "."
	}
	es, rs := f.ours.ES256, f.ours.RS256
	public, err := x509.MarshalPKIXPublicKey(rs.Key.Public())
	if err != nil {
		f.t.Fatal(err)
	}
	all := []Attack{
		{Name: "alg missing", Token: f.head(Object{"alg": nil})},
		{Name: "alg null", Token: f.rawHead(`{"alg":null,"typ":"at+jwt","kid":"ES256"}`)},
		{Name: "alg an array", Token: f.head(Object{"alg": []string{"ES256"}})},
		{Name: "ALG for alg", Token: f.head(Object{"alg": nil, "ALG": "ES256"})},
		{Name: "alg none", Token: unsigned("none")},
		{Name: "alg None", Token: unsigned("None")},
		{Name: "alg NONE", Token: unsigned("NONE")},
		{Name: "alg nOnE", Token: unsigned("nOnE")},
		{Name: "alg none, signed", Token: f.head(Object{"alg": "none"})},
		{Name: "alg empty", Token: unsigned("")},
		{Name: "alg es256", Token: f.head(Object{"alg": "es256"})},
		{Name: "alg with a space", Token: f.head(Object{"alg": "ES256 "})},
		{Name: "alg ES384", Token: f.head(Object{"alg": "ES384"})},
		{Name: "alg ES256K", Token: f.head(Object{"alg": "ES256K"})},
		{Name: "alg PS256", Token: rs.Sign(f.t, With(rs.Header(), Object{"alg": "PS256"}), f.claims)},
		{Name: "alg PS256, and so signed", Token: Signer{rs.ID, jwt.SigningMethodPS256, rs.Key}.Sign(f.t, With(rs.Header(), Object{"alg": "PS256"}), f.claims)},
		{Name: "alg RS512, and so signed", Token: Signer{rs.ID, jwt.SigningMethodRS512, rs.Key}.Sign(f.t, With(rs.Header(), Object{"alg": "RS512"}), f.claims)},
		{Name: "alg RS256, signed as PS256", Token: Signer{rs.ID, jwt.SigningMethodPS256, rs.Key}.Sign(f.t, rs.Header(), f.claims)},
		{Name: "alg RS256, signed as RS512", Token: Signer{rs.ID, jwt.SigningMethodRS512, rs.Key}.Sign(f.t, rs.Header(), f.claims)},
		{Name: "RS256 with the ES256 kid", Token: rs.Sign(f.t, With(rs.Header(), Object{"kid": es.ID}), f.claims)},
		{Name: "ES256 with the RS256 kid", Token: f.head(Object{"kid": rs.ID})},
		{Name: "EdDSA with the ES256 kid", Token: f.ours.EdDSA.Sign(f.t, With(f.ours.EdDSA.Header(), Object{"kid": es.ID}), f.claims)},
		{Name: "ES256 named RS256", Token: f.head(Object{"alg": "RS256"})},
		{Name: "HS256 with the public key", Token: f.hmac("HS256", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))},
		{Name: "HS256 with the key in DER", Token: f.hmac("HS256", public)},
		{Name: "HS256 without a key", Token: f.hmac("HS256", nil)},
		{Name: "HS256 named RS256", Token: f.hmac("RS256", public)},
	}
	for i := range all {
		all[i].Fault = token.ErrUntrusted
	}
	return all
}

// hmac is the classic confusion: a public key, which everybody has, taken for a secret.
func (f *forge) hmac(alg string, key []byte) string {
	signed := Encode([]byte(Text(f.t, With(f.ours.RS256.Header(), Object{"alg": alg})))) + "." + f.parts[1]
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(signed)) // a hash fails never
	return signed + "." + Encode(mac.Sum(nil))
}

// headers: other kinds of tokens, and what tells a reader to read otherwise.
func (f *forge) headers() []Attack {
	all := []Attack{
		{Name: "typ missing", Token: f.head(Object{"typ": nil}), Fault: token.ErrUntrusted},
		{Name: "TYP for typ", Token: f.head(Object{"typ": "JWT", "TYP": "at+jwt"}), Fault: token.ErrUntrusted},
		{Name: "typ an array", Token: f.head(Object{"typ": []string{"at+jwt"}}), Fault: token.ErrUntrusted},
		{Name: "crit", Token: f.head(Object{"crit": []string{"exp"}}), Fault: token.ErrMalformed},
		{Name: "crit unknown", Token: f.head(Object{"crit": []string{"x"}, "x": true}), Fault: token.ErrMalformed},
		{Name: "crit empty", Token: f.head(Object{"crit": []string{}}), Fault: token.ErrMalformed},
		{Name: "crit null", Token: f.rawHead(`{"alg":"ES256","typ":"at+jwt","kid":"ES256","crit":null}`), Fault: token.ErrMalformed},
		{Name: "b64 false", Token: f.head(Object{"b64": false}), Fault: token.ErrMalformed},
		{Name: "b64 false, critical", Token: f.unencoded(), Fault: token.ErrMalformed},
		{Name: "b64 true", Token: f.head(Object{"b64": true}), Fault: token.ErrMalformed},
	}
	for _, typ := range []string{
		"", "JWT", "JOSE", "logout+jwt", "secevent+jwt", "dpop+jwt", "kb+jwt", "token-introspection+jwt", "oauth-authz-req+jwt",
		"text/at+jwt", "at+jwt ", "at+jwt;charset=utf-8", "at+jwt\u212a",
	} {
		all = append(all, Attack{Name: "typ " + typ, Token: f.head(Object{"typ": typ}), Fault: token.ErrUntrusted})
	}
	return all
}

// unencoded is a token whose payload is as it is (RFC 7797).
func (f *forge) unencoded() string {
	es := f.ours.ES256
	signed := Encode([]byte(Text(f.t, With(es.Header(), Object{"b64": false, "crit": []string{"b64"}})))) + "." + Text(f.t, f.claims)
	signature, err := es.Method.Sign(signed, es.Key)
	if err != nil {
		f.t.Fatal(err)
	}
	return signed + "." + Encode(signature)
}

// keys: which key the token would like to be verified with.
func (f *forge) keys() []Attack {
	theirs := f.theirs.ES256
	public, ok := theirs.Key.Public().(*ecdsa.PublicKey)
	if !ok {
		f.t.Fatal("their key is none of ES256")
	}
	point, err := public.Bytes()
	if err != nil {
		f.t.Fatal(err)
	}
	jwk := Object{"kty": "EC", "crv": "P-256", "x": Encode(point[1:33]), "y": Encode(point[33:])}
	// their signs under our kid.
	their := func(changes Object) string {
		return theirs.Sign(f.t, With(f.ours.ES256.Header(), changes), f.claims)
	}
	all := []Attack{
		{Name: "jku", Token: their(Object{"jku": string(f.theirs.ID())}), Fault: token.ErrMalformed},
		{Name: "x5u", Token: their(Object{"x5u": string(f.theirs.ID())}), Fault: token.ErrMalformed},
		{Name: "jwk", Token: their(Object{"jwk": jwk}), Fault: token.ErrMalformed},
		{Name: "jwk and no kid", Token: their(Object{"jwk": jwk, "kid": nil}), Fault: token.ErrMalformed},
		{Name: "x5c", Token: their(Object{"x5c": []string{"AA"}}), Fault: token.ErrMalformed},
		{Name: "jku of our own", Token: f.head(Object{"jku": string(f.ours.ID())}), Fault: token.ErrMalformed},
		{Name: "kid missing", Token: f.head(Object{"kid": nil}), Fault: token.ErrMalformed},
		{Name: "KID for kid", Token: f.head(Object{"kid": "unknown", "KID": f.ours.ES256.ID}), Fault: token.ErrUntrusted},
		{Name: "kid empty", Token: f.head(Object{"kid": ""}), Fault: token.ErrMalformed},
		{Name: "kid a number", Token: f.head(Object{"kid": 1}), Fault: token.ErrMalformed},
		{Name: "kid an array", Token: f.head(Object{"kid": []string{f.ours.ES256.ID}}), Fault: token.ErrMalformed},
		{Name: "kid with NUL", Token: f.head(Object{"kid": f.ours.ES256.ID + "\x00"}), Fault: token.ErrMalformed},
		{Name: "kid with a space", Token: f.head(Object{"kid": f.ours.ES256.ID + " "}), Fault: token.ErrMalformed},
		{Name: "kid with line break", Token: f.head(Object{"kid": f.ours.ES256.ID + "\r\nX-Auth-Subject: root"}), Fault: token.ErrMalformed},
		{Name: "kid too long", Token: f.head(Object{"kid": strings.Repeat("k", 257)}), Fault: token.ErrMalformed},
		{Name: "our claims, their key", Token: theirs.Sign(f.t, theirs.Header(), f.claims), Fault: token.ErrUntrusted},
		{Name: "our claims, their key, our kid", Token: their(nil), Fault: token.ErrUntrusted},
		{Name: "our claims, same kid", Token: f.same.ES256.Sign(f.t, f.same.ES256.Header(), f.claims), Fault: token.ErrUntrusted},
		{Name: "their claims, our key", Token: f.ours.ES256.Sign(f.t, f.ours.ES256.Header(), f.theirs.Claims(f.at)), Fault: token.ErrUntrusted},
		{Name: "their claims, our key, their kid", Token: f.ours.ES256.Sign(f.t, theirs.Header(), f.theirs.Claims(f.at)), Fault: token.ErrUntrusted},
	}
	for name, kid := range map[string]string{
		"unknown": "unknown", "other case": "es256", "of theirs": theirs.ID, "a URL": string(f.theirs.ID()),
		"a path": "../../../../dev/null", "a query": "ES256'OR'1'='1", "a command": "ES256|/bin/true", "a pattern": "*", "an expression": "${jndi:ldap://x}",
	} {
		all = append(all, Attack{Name: "kid, " + name, Token: f.head(Object{"kid": kid}), Fault: token.ErrUntrusted})
	}
	return all
}

// signatures: what is none, or one that is written in a second way.
func (f *forge) signatures() []Attack {
	raw := f.signature(f.good)
	r, s := raw[:32], raw[32:]
	zero, order, ones := make([]byte, 32), elliptic.P256().Params().N.Bytes(), slices.Repeat([]byte{0xff}, 32)
	digest := sha256.Sum256([]byte(f.parts[0] + "." + f.parts[1]))
	der, err := f.ours.ES256.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		f.t.Fatal(err)
	}
	rs := f.ours.RS256.Sign(f.t, f.ours.RS256.Header(), f.claims)
	rsRaw, rsSigned := f.signature(rs), rs[:strings.LastIndexByte(rs, '.')+1]
	ed := f.ours.EdDSA.Sign(f.t, f.ours.EdDSA.Header(), f.claims)
	edRaw, edSigned := f.signature(ed), ed[:strings.LastIndexByte(ed, '.')+1]
	all := []Attack{
		{Name: "payload replaced", Token: f.parts[0] + "." + strings.Split(f.body(Object{"sub": "root"}), ".")[1] + "." + f.parts[2]},
		{Name: "signature changed", Token: Flip(f.good, 2)},
		{Name: "signature of zeros", Token: f.resign(make([]byte, 64))}, // CVE-2022-21449
		{Name: "signature of one byte", Token: f.resign([]byte{0})},
		{Name: "r zero", Token: f.resign(slices.Concat(zero, s))},
		{Name: "s zero", Token: f.resign(slices.Concat(r, zero))},
		{Name: "r and s the order", Token: f.resign(slices.Concat(order, order))},
		{Name: "s the order", Token: f.resign(slices.Concat(r, order))},
		{Name: "r and s beyond the order", Token: f.resign(slices.Concat(ones, ones))},
		{Name: "r and s exchanged", Token: f.resign(slices.Concat(s, r))},
		{Name: "r and s longer", Token: f.resign(slices.Concat([]byte{0}, r, []byte{0}, s))},
		{Name: "signature of P-384's length", Token: f.resign(make([]byte, 96))},
		{Name: "signature and more", Token: f.resign(slices.Concat(raw, []byte{0}))},
		{Name: "signature in DER", Token: f.resign(der)},
		{Name: "RS256, a byte short", Token: rsSigned + Encode(rsRaw[:255])},
		{Name: "RS256, the first byte gone", Token: rsSigned + Encode(rsRaw[1:])},
		{Name: "RS256, a zero before", Token: rsSigned + Encode(slices.Concat([]byte{0}, rsRaw))},
		{Name: "RS256, plus the modulus", Token: f.plusModulus()},
		{Name: "RS256, one", Token: rsSigned + Encode(slices.Concat(make([]byte, 255), []byte{1}))},
		{Name: "RS256, zero", Token: rsSigned + Encode(make([]byte, 256))},
		{Name: "EdDSA, plus the order", Token: edSigned + Encode(plusOrder(edRaw))},
		{Name: "EdDSA, zeros", Token: edSigned + Encode(make([]byte, 64))},
		{Name: "EdDSA, the neutral point", Token: edSigned + Encode(slices.Concat([]byte{1}, make([]byte, 63)))},
		{Name: "EdDSA, a byte short", Token: edSigned + Encode(edRaw[:63])},
	}
	for i := range all {
		all[i].Fault = token.ErrUntrusted
	}
	return append(all,
		Attack{Name: "header changed", Token: Flip(f.good, 0), Fault: token.ErrMalformed},
		Attack{Name: "signature very long", Token: f.resign(make([]byte, 1025)), Fault: token.ErrMalformed},
	)
}

// signature is the third part of a token, decoded.
func (f *forge) signature(raw string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(raw[strings.LastIndexByte(raw, '.')+1:])
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// plusModulus is a signature of RS256 that is its like modulo n, and no less than n (RFC
// 8017 section 5.2.2 wants it refused). It fits into 256 bytes for most tokens.
func (f *forge) plusModulus() string {
	rs := f.ours.RS256
	public, ok := rs.Key.Public().(*rsa.PublicKey)
	if !ok {
		f.t.Fatal("the RS256 key is none")
	}
	for i := range 1000 {
		raw := rs.Sign(f.t, rs.Header(), With(f.claims, Object{"jti": fmt.Sprint("jti-", i)}))
		if sum := new(big.Int).Add(new(big.Int).SetBytes(f.signature(raw)), public.N); sum.BitLen() <= 2048 {
			return raw[:strings.LastIndexByte(raw, '.')+1] + Encode(sum.FillBytes(make([]byte, 256)))
		}
	}
	f.t.Fatal("no signature leaves room for the modulus")
	return ""
}

// plusOrder adds the order of the group to S, which lies in the second half with its
// lowest byte first (RFC 8032 section 5.1.7 wants it refused).
func plusOrder(signature []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(signature[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return slices.Concat(signature[:32], sum)
}
