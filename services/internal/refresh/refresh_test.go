package refresh_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/services/internal/refresh"
)

const realm = subject.Realm("default")

var (
	secret = bytes.Repeat([]byte{0x11}, refresh.SecretSize)
	salt   = bytes.Repeat([]byte{0x22}, refresh.SecretSize)
	fields = refresh.Fields{
		Subject:    "000102030405060708090a0b0c0d0e0f",
		Session:    "019339e0-4a3c-7c1a-8d2b-0a1b2c3d4e5f",
		Generation: 300,
	}
)

func newKey(tb testing.TB, secret []byte) refresh.Key {
	tb.Helper()
	k, err := refresh.NewKey(secret)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func derive(tb testing.TB, k refresh.Key, realm subject.Realm, salt []byte, f refresh.Fields) string {
	tb.Helper()
	s, err := refresh.Derive(k, realm, salt, f)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Tokens in the wild must survive an upgrade, so the literal fixes the format. It
// was computed from the package comment by other means than this package.
func TestDeriveIsFixed(t *testing.T) {
	const want = "81novbxKsVM.AQABAgMEBQYHCAkKCwwNDg8BkzngSjx8Go0rChssPU5frAI.Fg4rcbIrUOHAvt0_VbGn9okbQBaLJKUQKF-TyARparTJbPUL4DaShg"
	k := newKey(t, secret)
	got := derive(t, k, realm, salt, fields)
	if got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	tok, err := refresh.Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if tok.Fields() != fields || tok.KeyID() != k.ID() || !tok.Verify(k, realm, salt) {
		t.Errorf("token reads back as %+v under key %s", tok.Fields(), tok.KeyID())
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, err := refresh.NewKey(rapid.SliceOfN(rapid.Byte(), refresh.SecretSize, refresh.SecretSize).Draw(t, "secret"))
		if err != nil {
			t.Fatal(err)
		}
		salt := rapid.SliceOfN(rapid.Byte(), refresh.SecretSize, refresh.SecretSize).Draw(t, "salt")
		f := refresh.Fields{
			Subject:    events.SubjectKey(hex.EncodeToString(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "subject"))),
			Session:    sessionID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "sid")),
			Generation: rapid.Uint64().Draw(t, "generation"),
		}
		s, err := refresh.Derive(key, realm, salt, f)
		if err != nil {
			t.Fatal(err)
		}
		if len(s) > refresh.MaxLength {
			t.Fatalf("token has %d bytes, more than MaxLength", len(s))
		}
		tok, err := refresh.Parse(s)
		if err != nil {
			t.Fatalf("parsing what was derived: %v", err)
		}
		if tok.Fields() != f || !tok.Verify(key, realm, salt) {
			t.Fatalf("read back as %+v, want %+v", tok.Fields(), f)
		}
		// Whichever byte is changed, the token no longer passes.
		i := rapid.IntRange(0, len(s)-1).Draw(t, "position")
		c := rapid.ByteRange(0x20, 0x7e).Draw(t, "byte")
		if c == s[i] {
			return
		}
		forged, err := refresh.Parse(s[:i] + string(c) + s[i+1:])
		if err == nil && forged.Verify(key, realm, salt) {
			t.Fatalf("byte %d changed and the token still verifies", i)
		}
	})
}

func sessionID(b []byte) events.SessionID {
	b[6], b[8] = 0x70|b[6]&0x0f, 0x80|b[8]&0x3f
	h := hex.EncodeToString(b)
	return events.SessionID(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])
}

func TestVerifyNeedsEveryPart(t *testing.T) {
	k := newKey(t, secret)
	other := newKey(t, bytes.Repeat([]byte{0x33}, refresh.SecretSize))
	tok, err := refresh.Parse(derive(t, k, realm, salt, fields))
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"another key":    tok.Verify(other, realm, salt),
		"no key":         tok.Verify(refresh.Key{}, realm, salt),
		"another realm":  tok.Verify(k, "other", salt),
		"no realm":       tok.Verify(k, "", salt),
		"another salt":   tok.Verify(k, realm, bytes.Repeat([]byte{0x44}, refresh.SecretSize)),
		"no salt":        tok.Verify(k, realm, nil),
		"a shorter salt": tok.Verify(k, realm, salt[:31]),
		"zero token":     refresh.Token{}.Verify(k, realm, salt),
		"zero both":      refresh.Token{}.Verify(refresh.Key{}, realm, salt),
	} {
		if ok {
			t.Errorf("token verifies with %s", name)
		}
	}
	if !tok.Verify(k, realm, salt) {
		t.Error("token does not verify with its own key, realm and salt")
	}
}

// Moving the boundary between two neighbouring fields must change the MAC.
func TestFieldsDoNotRunTogether(t *testing.T) {
	k := newKey(t, secret)
	a := derive(t, k, "ab", salt, fields)
	tok, err := refresh.Parse(a)
	if err != nil {
		t.Fatal(err)
	}
	if tok.Verify(k, "a", append([]byte("b"), salt[:31]...)) {
		t.Error("a byte moved from realm to salt leaves the MAC unchanged")
	}
}

func TestDeriveRefusesWhatParseWould(t *testing.T) {
	k := newKey(t, secret)
	with := func(change func(*refresh.Fields)) refresh.Fields {
		f := fields
		change(&f)
		return f
	}
	for name, c := range map[string]struct {
		key   refresh.Key
		realm subject.Realm
		salt  []byte
		f     refresh.Fields
	}{
		"zero key":          {refresh.Key{}, realm, salt, fields},
		"no realm":          {k, "", salt, fields},
		"short salt":        {k, realm, salt[:16], fields},
		"no fields":         {k, realm, salt, refresh.Fields{}},
		"upper-case key":    {k, realm, salt, with(func(f *refresh.Fields) { f.Subject = "000102030405060708090A0B0C0D0E0F" })},
		"short subject key": {k, realm, salt, with(func(f *refresh.Fields) { f.Subject = f.Subject[2:] })},
		"sid with braces":   {k, realm, salt, with(func(f *refresh.Fields) { f.Session = "{" + f.Session + "}" })},
		"sid in upper case": {k, realm, salt, with(func(f *refresh.Fields) { f.Session = events.SessionID(strings.ToUpper(string(f.Session))) })},
		"sid of version 4":  {k, realm, salt, with(func(f *refresh.Fields) { f.Session = "6ba7b810-9dad-41d1-80b4-00c04fd430c8" })},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := refresh.Derive(c.key, c.realm, c.salt, c.f); err == nil || s != "" {
				t.Errorf("derived %q, error %v", s, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	good := derive(t, newKey(t, secret), realm, salt, fields)
	id, rest, _ := strings.Cut(good, ".")
	payload, mac, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(b []byte) string { return id + "." + base64.RawURLEncoding.EncodeToString(b) + "." + mac }
	patch := func(i int, c byte) []byte {
		b := bytes.Clone(raw)
		b[i] = c
		return b
	}
	// The last character of an 8-byte id carries two unused bits.
	loose := id[:len(id)-1] + string(id[len(id)-1]+1)

	for name, s := range map[string]string{
		"empty":                    "",
		"dots":                     "..",
		"four parts":               good + ".",
		"two parts":                id + "." + payload,
		"leading dot":              "." + good,
		"space":                    " " + good,
		"trailing line break":      good + "\n",
		"line break inside":        id + "." + payload[:4] + "\n" + payload[4:] + "." + mac,
		"carriage return in id":    id[:3] + "\r" + id[3:] + "." + payload + "." + mac,
		"padding":                  id + "=." + payload + "." + mac,
		"standard alphabet":        id + "." + payload + "." + strings.Repeat("+", 43),
		"unused bits set":          loose + "." + payload + "." + mac,
		"short id":                 id[:8] + "." + payload + "." + mac,
		"short mac":                id + "." + payload + "." + mac[:42],
		"long mac":                 id + "." + payload + "." + mac + "AAA",
		"version 0":                encode(patch(0, 0)),
		"version 2":                encode(patch(0, 2)),
		"sid of version 4":         encode(patch(1+16+6, 0x4c)),
		"sid of foreign variant":   encode(patch(1+16+8, 0xcd)),
		"no generation":            encode(raw[:33]),
		"generation unfinished":    encode(raw[:34]),
		"generation not shortest":  encode(append(bytes.Clone(raw[:33]), 0x80, 0x00)),
		"generation over 64 bits":  encode(append(bytes.Clone(raw[:33]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02)),
		"byte after generation":    encode(append(bytes.Clone(raw), 0x01)),
		"payload too long":         encode(append(bytes.Clone(raw), make([]byte, 32)...)),
		"oversize":                 strings.Repeat("A", 1<<20),
		"not UTF-8":                "\xff\xfe" + good[2:],
		"an access token":          "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJ4In0.c2ln",
		"percent-encoded dot":      id + "%2e" + payload + "." + mac,
		"zero-width space at end ": good + "\u200b",
	} {
		t.Run(name, func(t *testing.T) {
			tok, err := refresh.Parse(s)
			if !errors.Is(err, refresh.ErrMalformed) {
				t.Fatalf("parsed with error %v", err)
			}
			if tok != (refresh.Token{}) {
				t.Error("a refused token is not the zero Token")
			}
		})
	}
}

func TestNothingPrints(t *testing.T) {
	k := newKey(t, secret)
	text := derive(t, k, realm, salt, fields)
	tok, err := refresh.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, v := range []any{tok, &tok, k, &k, []any{tok, k}, struct {
		T refresh.Token
		K refresh.Key
	}{tok, k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U"} {
			_, _ = fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zap.DebugLevel))
	log.Info("x", zap.Any("a", tok), zap.Reflect("b", tok), zap.Stringer("c", tok), zap.Any("d", k), zap.Reflect("e", k), zap.Inline(zapcore.ObjectMarshalerFunc(func(e zapcore.ObjectEncoder) error {
		return e.AddReflected("f", struct{ T refresh.Token }{tok})
	})))
	log.Sugar().Infow("y", "token", tok, "key", k)

	parts := strings.Split(text, ".")
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	mac, _ := base64.RawURLEncoding.DecodeString(parts[2])
	for name, raw := range map[string][]byte{"payload": payload, "mac": mac, "secret": secret} {
		for form, s := range map[string]string{
			"raw": string(raw), "hex": hex.EncodeToString(raw), "HEX": strings.ToUpper(hex.EncodeToString(raw)),
			"base64url": base64.RawURLEncoding.EncodeToString(raw), "base64": base64.RawStdEncoding.EncodeToString(raw),
			"decimals": strings.Trim(fmt.Sprintf("%d", raw), "[]"), "go": strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", raw), "[]byte{"), "}"),
		} {
			if strings.Contains(out.String(), s) {
				t.Errorf("%s shows as %s", name, form)
			}
		}
	}
	if !strings.Contains(out.String(), "[refresh token]") || !strings.Contains(out.String(), string(k.ID())) {
		t.Error("the placeholders do not show either: nothing was printed")
	}
}

func TestKeyIDFollowsTheSecret(t *testing.T) {
	a, b := newKey(t, secret), newKey(t, bytes.Clone(secret))
	c := newKey(t, salt)
	if a.ID() != b.ID() || a.ID() == c.ID() {
		t.Errorf("ids %s, %s, %s", a.ID(), b.ID(), c.ID())
	}
	own := bytes.Clone(secret)
	d := newKey(t, own)
	before := derive(t, d, realm, salt, fields)
	clear(own)
	if derive(t, d, realm, salt, fields) != before {
		t.Error("the key shares memory with its caller")
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := refresh.NewKey(make([]byte, n)); err == nil {
			t.Errorf("a secret of %d bytes was accepted", n)
		}
	}
}

// What Parse accepts has one spelling: the parts it read, encoded again.
func FuzzParse(f *testing.F) {
	key := newKey(f, secret)
	for _, g := range []uint64{0, 1, 127, 128, 1 << 40, 1<<64 - 1} {
		v := fields
		v.Generation = g
		f.Add(derive(f, key, realm, salt, v))
	}
	f.Add("..")
	f.Add("AAAAAAAAAAA.AQ.AA")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := refresh.Parse(s)
		if err != nil {
			if !errors.Is(err, refresh.ErrMalformed) || tok != (refresh.Token{}) {
				t.Fatalf("error %v with %v", err, tok.Fields())
			}
			return
		}
		again := derive(t, key, realm, salt, tok.Fields())
		gotPayload, wantPayload := strings.Split(s, ".")[1], strings.Split(again, ".")[1]
		if gotPayload != wantPayload || string(tok.KeyID()) != strings.Split(s, ".")[0] || len(s) != len(again) {
			t.Fatalf("two spellings: %q and %q", s, again)
		}
		if tok.Verify(key, realm, salt) != (s == again) {
			t.Fatalf("verifies, though the key derives %q", again)
		}
	})
}

// The tag tells noise from a token without the salt, and binds key, realm and fields.
func TestPlausible(t *testing.T) {
	k := newKey(t, secret)
	tok, err := refresh.Parse(derive(t, k, realm, salt, fields))
	if err != nil {
		t.Fatal(err)
	}
	if !tok.Plausible(k, realm) {
		t.Error("a genuine token is not plausible")
	}
	if tok.Plausible(k, "other") || tok.Plausible(newKey(t, bytes.Repeat([]byte{0x33}, refresh.SecretSize)), realm) {
		t.Error("the tag does not bind key and realm")
	}
	other := fields
	other.Generation++
	changed := strings.Split(derive(t, k, realm, salt, other), ".")
	original := strings.Split(derive(t, k, realm, salt, fields), ".")
	forged, err := refresh.Parse(original[0] + "." + changed[1] + "." + original[2])
	if err != nil {
		t.Fatal(err)
	}
	if forged.Plausible(k, realm) || forged.Verify(k, realm, salt) {
		t.Error("the tag does not bind the fields")
	}
}
