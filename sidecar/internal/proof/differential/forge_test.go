package differential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"

	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// signatureMutations forge: with other keys, other algorithms, or by hand.
func signatureMutations() []mutation {
	signing := func(name string, do func(d *draft, r *mathrand.Rand)) mutation {
		return mutation{"signed " + name, atParts, func(r *mathrand.Rand, d *draft) string { do(d, r); return "" }}
	}
	bytes := func(name string, do func(r *mathrand.Rand, s []byte) []byte) mutation {
		return mutation{"signature " + name, atSignature, func(r *mathrand.Rand, d *draft) string {
			if len(d.signature) == 0 {
				return "nothing left"
			}
			d.signature = do(r, d.signature)
			return ""
		}}
	}
	return []mutation{
		signing("by a stranger", func(d *draft, r *mathrand.Rand) { d.signer = pick(r, d.world.strangers) }),
		signing("by another key", func(d *draft, r *mathrand.Rand) { d.signer = pick(r, d.world.signers) }),
		signing("with the public key as a secret", func(d *draft, r *mathrand.Rand) {
			d.sign = func(s tokentest.Signer, signed string) []byte { return keyed(r, s, signed) }
		}),
		signing("with another hash or padding", func(d *draft, r *mathrand.Rand) {
			seed := [32]byte{byte(r.Uint32())}
			d.sign = func(s tokentest.Signer, signed string) []byte { return otherwise(mathrand.NewChaCha8(seed), s, signed) }
		}),
		signing("over other text", func(d *draft, r *mathrand.Rand) {
			d.sign = func(s tokentest.Signer, signed string) []byte { return sign(s, someByte(r, signed)) }
		}),
		bytes("with a bit flipped", func(r *mathrand.Rand, s []byte) []byte { s[r.IntN(len(s))] ^= 1 << r.IntN(8); return s }),
		bytes("cut short", func(r *mathrand.Rand, s []byte) []byte { return s[:r.IntN(len(s))] }),
		bytes("without its beginning", func(_ *mathrand.Rand, s []byte) []byte { return s[1:] }),
		bytes("with bytes behind", func(r *mathrand.Rand, s []byte) []byte { return append(s, make([]byte, 1+r.IntN(3))...) }),
		bytes("with a zero before", func(_ *mathrand.Rand, s []byte) []byte { return append([]byte{0}, s...) }),
		bytes("of zeros", func(_ *mathrand.Rand, s []byte) []byte { return make([]byte, len(s)) }),
		bytes("of ones", func(_ *mathrand.Rand, s []byte) []byte { return slices.Repeat([]byte{0xff}, len(s)) }),
		bytes("very long", func(r *mathrand.Rand, _ []byte) []byte { return make([]byte, pick(r, []int{512, 1024, 1025, 4096})) }),
		bytes("by chance", func(r *mathrand.Rand, s []byte) []byte {
			for i := range s {
				s[i] = byte(r.Uint32())
			}
			return s
		}),
		{"signature of other numbers", atSignature, func(r *mathrand.Rand, d *draft) (did string) {
			d.signature, did = renumbered(r, d.signature)
			return did
		}},
	}
}

// keyed is an HMAC with what everybody knows (RFC 8725 section 2.1).
func keyed(r *mathrand.Rand, s tokentest.Signer, signed string) []byte {
	der, err := x509.MarshalPKIXPublicKey(s.Key.Public())
	if err != nil {
		panic(err)
	}
	secret := pick(r, [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), []byte(s.ID), {}})
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

// otherwise signs with the right key in a way that its algorithm does not.
func otherwise(salt io.Reader, s tokentest.Signer, signed string) []byte {
	digest, long := sha256.Sum256([]byte(signed)), sha512.Sum512([]byte(signed))
	var signature []byte
	var err error
	switch key := s.Key.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPSS(salt, key, crypto.SHA256, digest[:], nil)
	case *ecdsa.PrivateKey:
		if signature, err = key.Sign(nil, long[:], crypto.SHA512); err == nil {
			signature = plain(signature)
		}
	case ed25519.PrivateKey:
		signature, err = key.Sign(nil, long[:], crypto.SHA512) // Ed25519ph
	}
	if err != nil {
		panic(err)
	}
	return signature
}

// renumbered does arithmetic on a signature's numbers: some of it is still a signature.
func renumbered(r *mathrand.Rand, s []byte) ([]byte, string) {
	if len(s) != 64 {
		return s, "nothing done"
	}
	first, second := s[:32], s[32:]
	n := elliptic.P256().Params().N
	number := new(big.Int).SetBytes(second)
	fit := func(v *big.Int) []byte {
		return new(big.Int).Mod(v, new(big.Int).Lsh(big.NewInt(1), 256)).FillBytes(make([]byte, 32))
	}
	switch r.IntN(6) {
	case 0: // a signature again (SEC 1 does not ask for the smaller S)
		return slices.Concat(first, fit(new(big.Int).Mod(new(big.Int).Neg(number), n))), "S = -S"
	case 1:
		return slices.Concat(second, first), "R and S swapped"
	case 2:
		return slices.Concat(make([]byte, 32), second), "R = 0"
	case 3:
		return slices.Concat(first, make([]byte, 32)), "S = 0"
	case 4:
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(first), number})
		if err != nil {
			panic(err)
		}
		return der, "in DER"
	}
	// Ed25519's S is little-endian, and has to be below the group's order (RFC 8032 section 5.1.7).
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	reversed := slices.Clone(second)
	slices.Reverse(reversed)
	sum := fit(new(big.Int).Add(new(big.Int).SetBytes(reversed), order))
	slices.Reverse(sum)
	return slices.Concat(first, sum), "S + L"
}

// partMutations spell the header or payload otherwise and sign that spelling.
func partMutations() []mutation {
	return []mutation{{"signed in another spelling", atParts, func(r *mathrand.Rand, d *draft) (did string) {
		i := r.IntN(2)
		d.parts[i], did = respell(r, d.parts[i])
		return did
	}}}
}

// respell writes base64url in a way that some readers take for the same.
func respell(r *mathrand.Rand, s string) (string, string) {
	i := r.IntN(len(s) + 1)
	switch r.IntN(8) {
	case 0:
		return s + strings.Repeat("=", 1+r.IntN(2)), "padding"
	case 1:
		return s + strings.Repeat("=", (4-len(s)%4)%4), "right padding"
	case 2:
		return strings.NewReplacer("-", "+", "_", "/").Replace(s), "standard alphabet"
	case 3:
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			return s, "nothing done"
		}
		return base64.StdEncoding.EncodeToString(b), "standard encoding"
	case 4, 5:
		if s == "" || len(s)%4 < 2 {
			return s, "nothing done"
		}
		last := strings.IndexByte(base64url, s[len(s)-1])
		if last < 0 {
			return s, "nothing done"
		}
		return s[:len(s)-1] + base64url[last^1:][:1], "a bit beyond the end"
	case 6:
		return s[:i] + pick(r, []string{"\n", "\r\n", "\r"}) + s[i:], "line break"
	}
	return s[:i] + pick(r, []string{" ", "\t", "\x00", "%", "=", ".", "\u2024", "\xff", "%2e"}) + s[i:], "strange character"
}

// rawMutations change the finished token.
func rawMutations() []mutation {
	at := func(name string, do func(r *mathrand.Rand, parts []string) string) mutation {
		return mutation{"token: " + name, atRaw, func(r *mathrand.Rand, d *draft) string {
			if parts := strings.Split(d.raw, "."); len(parts) == 3 {
				d.raw = do(r, parts)
				return ""
			}
			return "nothing done"
		}}
	}
	return []mutation{
		{"token: another spelling", atRaw, func(r *mathrand.Rand, d *draft) (did string) {
			parts := strings.Split(d.raw, ".")
			i := r.IntN(len(parts))
			parts[i], did = respell(r, parts[i])
			d.raw = strings.Join(parts, ".")
			return did
		}},
		at("other parts", func(r *mathrand.Rand, p []string) string {
			return pick(r, []string{
				"", ".", "..", p[0], p[0] + "." + p[1], p[0] + "." + p[1] + ".", "." + p[1] + "." + p[2], p[0] + ".." + p[2],
				strings.Join(p, ".") + ".", strings.Join(p, ".") + "." + p[2], "." + strings.Join(p, "."), strings.Join(p, ".") + ".a.b",
				p[1] + "." + p[0] + "." + p[2], strings.Join(p, ".."), strings.Join(p, ""),
			})
		}),
		at("around it", func(r *mathrand.Rand, p []string) string {
			raw := strings.Join(p, ".")
			return pick(r, []string{" " + raw, raw + " ", raw + "\n", "\t" + raw, "Bearer " + raw, `"` + raw + `"`, raw + "\x00", raw + ",", raw + "#"})
		}),
		at("JSON serialization", func(r *mathrand.Rand, p []string) string {
			one := `"protected":"` + p[0] + `","signature":"` + p[2] + `"`
			return pick(r, []string{`{"payload":"` + p[1] + `",` + one + `}`, `{"payload":"` + p[1] + `","signatures":[{` + one + `}]}`})
		}),
		at("space around a text", func(r *mathrand.Rand, p []string) string {
			i := r.IntN(2)
			if text, exact := decode(p[i]); exact {
				p[i] = encode(pick(r, []string{" ", "\n"}) + string(text) + pick(r, []string{"", " "}))
			}
			return strings.Join(p, ".")
		}),
		at("unsigned", func(_ *mathrand.Rand, p []string) string {
			return encode(`{"alg":"none","typ":"at+jwt","kid":"ES256"}`) + "." + p[1] + "."
		}),
		{"token: random byte", atRaw, func(r *mathrand.Rand, d *draft) string { d.raw = someByte(r, d.raw); return "" }},
	}
}
