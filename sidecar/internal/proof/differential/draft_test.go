package differential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// issuerID stands in for the issuer's address, which differs from run to run.
const issuerID = "https://id.example"

// noon is about when all tokens are judged.
var noon = time.Unix(1795310400, 0)

// world is what all tokens of a run have in common.
type world struct {
	issuer *tokentest.Issuer
	// signers are the issuer's; strangers have the same kids, and other keys.
	signers, strangers []tokentest.Signer
	// published are the public keys as jwx reads them from where our verifier does.
	published jwk.Set
}

// newWorld makes the same keys every time.
func newWorld(t *testing.T) *world {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1)
	w := &world{issuer: tokentest.NewIssuer(t, "")}
	other := tokentest.NewIssuer(t, "")
	w.signers = []tokentest.Signer{w.issuer.ES256, w.issuer.RS256, w.issuer.EdDSA}
	w.strangers = []tokentest.Signer{other.ES256, other.RS256, other.EdDSA}

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, string(w.issuer.ID()), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	w.published, err = jwk.ParseReader(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	// jwx takes the algorithm from the key, which need not name it.
	for i, alg := range []jwa.SignatureAlgorithm{jwa.ES256(), jwa.RS256(), jwa.EdDSA()} {
		key, ok := w.published.LookupKeyID(w.signers[i].ID)
		if !ok {
			t.Fatalf("key %s is not published", w.signers[i].ID)
		}
		if err := key.Set(jwk.AlgorithmKey, alg); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// member is one member of a JSON object: two JSON texts, not all of them valid.
type member struct{ name, value string }

// draft is a token in the making.
type draft struct {
	world *world
	now   time.Time
	// header and payload become texts, those become parts, over which signer signs.
	header, payload []member
	texts, parts    [2]string
	signer          tokentest.Signer
	sign            func(signer tokentest.Signer, signed string) []byte
	signature       []byte
	raw             string
}

// stage is what of a draft a mutation changes: it comes before the next is made.
type stage int

const (
	atMembers stage = iota
	atTexts
	atParts
	atSignature
	atRaw
)

// sample is a token to be judged, and how it came about.
type sample struct {
	n      uint64
	raw    string
	now    time.Time
	recipe []string
}

func (s sample) String() string {
	return fmt.Sprintf("token %d at %s: %s\n  %s", s.n, s.now.UTC().Format(time.RFC3339Nano), strings.Join(s.recipe, ", "), s.raw)
}

// newSample makes token n of a seed: one in five as it should be, the others with one
// to three mutations.
func newSample(w *world, seed, n uint64, catalogue []mutation) sample {
	r := rand.New(rand.NewPCG(seed, n))
	signer := pick(r, w.signers)
	d := newDraft(w, signer)
	d.now = noon.Add(pick(r, []time.Duration{0, time.Millisecond, 500 * time.Millisecond, 999 * time.Millisecond}))
	s := sample{n: n, now: d.now, recipe: []string{signer.Method.Alg()}}
	// An optional claim may be absent.
	d.payload = slices.DeleteFunc(d.payload, func(m member) bool { return optional(m.name) && r.IntN(8) == 0 })
	r.Shuffle(len(d.payload), func(i, j int) { d.payload[i], d.payload[j] = d.payload[j], d.payload[i] })

	var drawn []mutation
	if r.IntN(5) > 0 {
		for range 1 + r.IntN(3) {
			drawn = append(drawn, pick(r, catalogue))
		}
	}
	slices.SortStableFunc(drawn, func(a, b mutation) int { return int(a.at) - int(b.at) })
	s.recipe = append(s.recipe, d.finish(r, drawn)...)
	s.raw = d.raw
	return s
}

// newDraft is a good token's.
func newDraft(w *world, signer tokentest.Signer) *draft {
	claims := tokentest.With(w.issuer.Claims(noon), tokentest.Object{"iss": issuerID})
	return &draft{
		world: w, now: noon, signer: signer, sign: sign,
		header: membersOf(signer.Header()), payload: membersOf(claims),
	}
}

// finish makes the token, each mutation in its stage, and says what they did.
func (d *draft) finish(r *rand.Rand, drawn []mutation) []string {
	var did []string
	mutate := func(at stage) {
		for _, m := range drawn {
			if m.at == at {
				did = append(did, strings.TrimSpace(m.name+" "+m.do(r, d)))
			}
		}
	}
	mutate(atMembers)
	d.texts = [2]string{textOf(d.header), textOf(d.payload)}
	mutate(atTexts)
	d.parts = [2]string{encode(d.texts[0]), encode(d.texts[1])}
	mutate(atParts)
	signed := d.parts[0] + "." + d.parts[1]
	d.signature = d.sign(d.signer, signed)
	mutate(atSignature)
	d.raw = signed + "." + encode(string(d.signature))
	mutate(atRaw)
	return did
}

func optional(name string) bool {
	return slices.Contains([]string{`"sid"`, `"ssq"`, `"tsq"`, `"scope"`, `"roles"`, `"auth_time"`, `"acr"`, `"amr"`}, name)
}

func membersOf(o tokentest.Object) []member {
	var all []member
	for _, name := range slices.Sorted(maps.Keys(o)) {
		all = append(all, member{jsonOf(name), jsonOf(o[name])})
	}
	return all
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // nothing in this package is beyond JSON
	}
	return string(b)
}

func textOf(members []member) string {
	texts := make([]string, len(members))
	for i, m := range members {
		texts[i] = m.name + ":" + m.value
	}
	return "{" + strings.Join(texts, ",") + "}"
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// sign gives the same signature for the same text every time, which golang-jwt's ES256
// does not.
func sign(signer tokentest.Signer, signed string) []byte {
	var opts crypto.SignerOpts = crypto.SHA256
	digest := sha256.Sum256([]byte(signed))
	message := digest[:]
	if _, ok := signer.Key.(ed25519.PrivateKey); ok {
		opts, message = crypto.Hash(0), []byte(signed)
	}
	signature, err := signer.Key.Sign(nil, message, opts)
	if err != nil {
		panic(err)
	}
	if _, ok := signer.Key.(*ecdsa.PrivateKey); ok {
		return plain(signature)
	}
	return signature
}

// plain is R and S, 32 bytes each, of an ECDSA signature in DER (RFC 7518 section 3.4).
func plain(der []byte) []byte {
	var both struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &both); err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	both.R.FillBytes(signature[:32])
	both.S.FillBytes(signature[32:])
	return signature
}
