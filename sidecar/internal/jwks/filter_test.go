package jwks_test

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/jwks"
)

// Each set also holds a good key under "good": whatever is wrong with the key
// beside it, the good one counts.
func TestFilter(t *testing.T) {
	n := rsaModulus(t)
	weak := new(big.Int).Rsh(n, 1) // 2047 bits
	weak.SetBit(weak, 0, 1)
	ec, ed := ecJWK(t, "k"), edJWK(t, "k")
	for name, c := range map[string]struct {
		keys []object
		want string // algorithm of the key "k"; "" if it must be refused
	}{
		"P-256":                        {[]object{ec}, jwks.ES256},
		"alg null":                     {[]object{with(ec, object{"alg": nil})}, ""},
		"Ed25519":                      {[]object{ed}, jwks.EdDSA},
		"Ed25519 with alg":             {[]object{with(ed, object{"alg": "EdDSA"})}, jwks.EdDSA},
		"RSA":                          {[]object{rsaJWK("k", n, 65537)}, jwks.RS256},
		"RSA with alg":                 {[]object{with(rsaJWK("k", n, 65537), object{"alg": "RS256"})}, jwks.RS256},
		"unknown members":              {[]object{with(ec, object{"x5c": []string{"AA"}, "x5t": "AA", "exp": 1, "iat": 2})}, jwks.ES256},
		"key_ops verify":               {[]object{with(ec, object{"key_ops": []string{"verify"}})}, jwks.ES256},
		"key_ops without verify":       {[]object{with(ec, object{"key_ops": []string{"encrypt"}})}, ""},
		"key_ops of the wrong type":    {[]object{with(ec, object{"key_ops": 1})}, ""},
		"use enc":                      {[]object{with(ec, object{"use": "enc"})}, ""},
		"use of the wrong type":        {[]object{with(ec, object{"use": 1})}, ""},
		"alg of another key type":      {[]object{with(ec, object{"alg": "RS256"})}, ""},
		"alg in another case":          {[]object{with(ec, object{"alg": "es256"})}, ""},
		"alg none":                     {[]object{with(ec, object{"alg": "none"})}, ""},
		"alg PS256":                    {[]object{with(rsaJWK("k", n, 65537), object{"alg": "PS256"})}, ""},
		"private P-256":                {[]object{with(ec, object{"d": b64(make([]byte, 32))})}, ""},
		"private Ed25519":              {[]object{with(ed, object{"d": b64(make([]byte, 32))})}, ""},
		"private RSA, part of it":      {[]object{with(rsaJWK("k", n, 65537), object{"qi": "AQ"})}, ""},
		"symmetric":                    {[]object{{"kty": "oct", "kid": "k", "k": b64(make([]byte, 32)), "alg": "HS256"}}, ""},
		"symmetric without its secret": {[]object{{"kty": "oct", "kid": "k"}}, ""},
		"RSA of 2047 bits":             {[]object{rsaJWK("k", weak, 65537)}, ""},
		"RSA of 16384 bits":            {[]object{rsaJWK("k", new(big.Int).SetBit(big.NewInt(1), 16383, 1), 65537)}, ""},
		"RSA, even":                    {[]object{rsaJWK("k", new(big.Int).Add(n, big.NewInt(1)), 65537)}, ""},
		"RSA, exponent 1":              {[]object{rsaJWK("k", n, 1)}, ""},
		"RSA, exponent even":           {[]object{rsaJWK("k", n, 65536)}, ""},
		"RSA, exponent huge":           {[]object{with(rsaJWK("k", n, 3), object{"e": b64(n.Bytes())})}, ""},
		"RSA, padded base64":           {[]object{with(rsaJWK("k", n, 3), object{"e": "AQAB===="})}, ""},
		"RSA without modulus":          {[]object{{"kty": "RSA", "kid": "k", "e": "AQAB"}}, ""},
		"P-384":                        {[]object{with(ec, object{"crv": "P-384"})}, ""},
		"P-256 off the curve":          {[]object{with(ec, object{"x": b64(make([]byte, 32))})}, ""},
		"P-256, short":                 {[]object{with(ec, object{"x": b64(make([]byte, 31))})}, ""},
		"P-256, long":                  {[]object{with(ec, object{"x": b64(make([]byte, 33))})}, ""},
		"Ed25519, short":               {[]object{with(ed, object{"x": b64(make([]byte, 31))})}, ""},
		"X25519":                       {[]object{with(ed, object{"crv": "X25519"})}, ""},
		"kid twice":                    {[]object{ec, ecJWK(t, "k")}, ""},
		"kid twice, one refused":       {[]object{ec, with(ecJWK(t, "k"), object{"use": "enc"})}, ""},
		"kid of the wrong type":        {[]object{with(ec, object{"kid": 7})}, ""},
		"kid with a line break":        {[]object{with(ec, object{"kid": "k\n"})}, ""},
		"kid too long":                 {[]object{with(ec, object{"kid": strings.Repeat("k", 257)})}, ""},
		"kid null":                     {[]object{with(ec, object{"kid": nil})}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite(t)
			site.text("/jwks", setOf(t, append(c.keys, ecJWK(t, "good"))...))
			s := start(t, jwks.Config{Issuer: "https://id.example", Source: site.URL + "/jwks"})
			if good := mustFind(t, s, "good"); good.Algorithm != jwks.ES256 || good.ID != "good" {
				t.Errorf("good key: %+v", good)
			}
			k, err := s.Find(t.Context(), "k")
			switch {
			case c.want == "" && !errors.Is(err, jwks.ErrUnknownKey):
				t.Errorf("got %v, %v; want ErrUnknownKey", k, err)
			case c.want != "" && (err != nil || k.Algorithm != c.want):
				t.Errorf("got %v, %v; want an %s key", k, err, c.want)
			}
		})
	}
}

// A text that is no key set changes nothing.
func TestNotASet(t *testing.T) {
	tooMany := make([]object, 101)
	for i := range tooMany {
		tooMany[i] = object{"kty": "EC"}
	}
	for name, text := range map[string]string{
		"nothing": "", "array": "[]", "no keys": `{"key":[]}`, "keys not an array": `{"keys":{}}`,
		"key not an object": `{"keys":[1]}`, "keys twice": `{"keys":[],"keys":[]}`, "cut short": `{"keys":[`,
		"too many keys": setOf(t, tooMany...), "too long": setOf(t) + strings.Repeat(" ", 256<<10),
		"member twice in a key": `{"keys":[{"kid":"a","kid":"b"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite(t)
			site.text("/jwks", setOf(t, ecJWK(t, "good")))
			s := start(t, jwks.Config{Issuer: "https://id.example", Source: site.URL + "/jwks"})
			good := mustFind(t, s, "good")
			site.text("/jwks", text)
			answer(t, s, "other", jwks.ErrUnavailable)
			if again := mustFind(t, s, "good"); again != good || !good.Usable(time.Now()) {
				t.Error("the good key is gone")
			}
		})
	}
}

func TestParseURL(t *testing.T) {
	for _, s := range []string{"https://id.example", "https://id.example/tenant?x=1", "http://127.0.0.1:8080/a", "http://[::1]:1", "http://localhost"} {
		if _, err := jwks.ParseURL(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{
		"", "id.example", "/path", "http://id.example", "http://127.0.0.1.evil.example", "http://localhost.evil.example",
		"https://", "https://:443", "https://user:pw@id.example", "https://id.example/#", "https://id.example/#a",
		"ftp://127.0.0.1", "file:///etc/passwd", "https:id.example", "http://169.254.169.254", "http://0.0.0.0", "https://id.example:x",
	} {
		if _, err := jwks.ParseURL(s); err == nil {
			t.Errorf("%q passes", s)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	m, _ := newMetrics(t)
	for name, cfg := range map[string]jwks.Config{
		"no issuer":       {},
		"issuer by http":  {Issuer: "http://id.example"},
		"issuer's query":  {Issuer: "https://id.example?a=b"},
		"set by http":     {Issuer: "https://id.example", Source: "http://id.example/jwks"},
		"set by file URL": {Issuer: "https://id.example", Source: "file:///tmp/jwks"},
		"negative wait":   {Issuer: "https://id.example", Wait: -1},
	} {
		if _, err := jwks.New(cfg, jwks.Deps{Metrics: m}); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
	if !jwks.ValidKeyID("../../etc/passwd") || jwks.ValidKeyID("") || jwks.ValidKeyID("a b") || jwks.ValidKeyID("é") {
		t.Error("ValidKeyID: want visible ASCII and nothing else")
	}
}
