package signing

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The example of RFC 7638 section 3.1.
func TestThumbprint(t *testing.T) {
	n, err := base64.RawURLEncoding.DecodeString("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
	if err != nil {
		t.Fatal(err)
	}
	k, err := newJWK(algRS256, &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
	if err != nil || k.ID != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" || k.Exponent != "AQAB" {
		t.Errorf("got %+v, %v", k, err)
	}
	if _, err := newJWK(algES256, "no key"); err == nil {
		t.Error("a string was described")
	}
}

func TestServeJWKS(t *testing.T) {
	k := open(t, config(filled(t)))
	get := func(method, ifNoneMatch string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, "/.well-known/jwks.json", http.NoBody)
		if ifNoneMatch != "" {
			r.Header.Set("If-None-Match", ifNoneMatch)
		}
		w := httptest.NewRecorder()
		k.ServeJWKS(w, r)
		return w
	}
	w := get(http.MethodGet, "")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/jwk-set+json" ||
		w.Header().Get("Cache-Control") != "public, max-age=300" || w.Header().Get("ETag") == "" {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("%s: %v", w.Body, err)
	}
	public := map[string][]string{
		"EC":  {"kty", "use", "alg", "kid", "crv", "x", "y"},
		"RSA": {"kty", "use", "alg", "kid", "n", "e"},
	}
	for i, key := range set.Keys {
		members := public[key["kty"]]
		if len(key) != len(members) || key["use"] != "sig" || key["alg"] == "" || key["kid"] == "" {
			t.Errorf("key %v", key)
		}
		for _, m := range members {
			if key[m] == "" {
				t.Errorf("key %s has no %s", key["kid"], m)
			}
		}
		if e := k.Public()[i]; string(e.ID) != key["kid"] || e.Algorithm != key["alg"] || !bytes.Contains(w.Body.Bytes(), e.JWK) || e.Signature != nil {
			t.Errorf("event %+v does not describe key %v", e, key)
		}
	}

	if again := get(http.MethodGet, w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("the same ETag: %d with %d bytes", again.Code, again.Body.Len())
	}
	if other := get(http.MethodGet, `"other"`); other.Code != 200 || other.Body.String() != w.Body.String() {
		t.Errorf("another ETag: %d", other.Code)
	}
	if head := get(http.MethodHead, ""); head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("ETag") != w.Header().Get("ETag") {
		t.Errorf("HEAD: %d with %d bytes", head.Code, head.Body.Len())
	}
}
