package app_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// members are those of one JSON object of a token.
type members map[string]any

// with gives a copy with some members changed; nil takes one away.
func (m members) with(changes members) members {
	next := maps.Clone(m)
	maps.Copy(next, changes)
	maps.DeleteFunc(next, func(_ string, v any) bool { return v == nil })
	return next
}

// forger makes tokens of every kind out of a genuine one. It has the issuer's own
// private keys, so that a forgery is wrong in one way only.
type forger struct {
	head, claims members // of the genuine token
	es256        *ecdsa.PrivateKey
	rs256        *rsa.PrivateKey
	rsaKeyID     string
	jwks         string
}

func newForger(t *testing.T, i *issuer, genuine string) forger {
	t.Helper()
	part := strings.Split(genuine, ".")
	f := forger{
		head: parse(t, part[0]), claims: parse(t, part[1]),
		es256: privateKey[*ecdsa.PrivateKey](t, filepath.Join(i.KeysDir, "signing-es256.pem")),
		rs256: privateKey[*rsa.PrivateKey](t, filepath.Join(i.KeysDir, "signing-rs256.pem")),
		jwks:  must(t, request{method: "GET", url: i.public + "/.well-known/jwks.json"}).want(t, 200).body,
	}
	set := decode[struct{ Keys []struct{ Kid, Alg string } }](t, reply{body: f.jwks})
	for _, key := range set.Keys {
		if key.Alg == "RS256" {
			f.rsaKeyID = key.Kid
		}
	}
	return f
}

func parse(t *testing.T, part string) members {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var m members
	if err := decoder.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func privateKey[K any](t *testing.T, name string) K {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(K)
}

// join makes a token of two texts as they are, and signs it.
func join(head, body string, sign func(text string) []byte) string {
	text := encode(head) + "." + encode(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func (m members) text() string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// es gives a token as the issuer signs it, with these changes.
func (f forger) es(head, claims members) string {
	return join(f.head.with(head).text(), f.claims.with(claims).text(), signES256(f.es256))
}

func (f forger) rs(head, claims members) string {
	own := members{"alg": "RS256", "kid": f.rsaKeyID}
	return join(f.head.with(own).with(head).text(), f.claims.with(claims).text(), func(text string) []byte {
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPKCS1v15(rand.Reader, f.rs256, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return signature
	})
}

// hs gives one whose MAC is made with a key that everybody can read.
func (f forger) hs(secret []byte, head members) string {
	return join(f.head.with(members{"alg": "HS256"}).with(head).text(), f.claims.text(), func(text string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	})
}

func signES256(key *ecdsa.PrivateKey) func(string) []byte {
	return func(text string) []byte {
		sum := sha256.Sum256([]byte(text))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

func unsigned(string) []byte { return nil }

// strangersKey is a P-256 key of nobody's.
func strangersKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// publicForms are the spellings of a public key that careless verifiers have been
// brought to use as a MAC secret.
func publicForms(t *testing.T, public crypto.PublicKey) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return map[string][]byte{"PEM": text, "PEM without its last line break": bytes.TrimSpace(text), "DER": der}
}
