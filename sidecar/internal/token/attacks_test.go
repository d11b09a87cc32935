package token_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// Each attack is a good token with one thing wrong, signed with a good key where
// the attacker's own signature is not the point. The good token beside it shows
// that nothing else was wrong.
func TestAttacks(t *testing.T) {
	ours, theirs := tokentest.NewIssuer(t, ""), tokentest.NewIssuer(t, "their-")
	same := tokentest.NewIssuer(t, "") // publishes other keys under our kids
	v := newVerifier(t, config(),
		token.Issuer{Trust: ours.Trust(), Keys: ours.Keys(t)},
		token.Issuer{Trust: theirs.Trust(), Keys: theirs.Keys(t)},
		token.Issuer{Trust: same.Trust(), Keys: same.Keys(t)},
	)
	es, claims := ours.ES256, ours.Claims(now)
	good := es.Sign(t, es.Header(), claims)
	parts := strings.Split(good, ".")
	head := func(changes object) string { return es.Sign(t, tokentest.With(es.Header(), changes), claims) }
	body := func(changes object) string { return es.Sign(t, es.Header(), tokentest.With(claims, changes)) }
	rawBody := func(old, changed string) string {
		payload := tokentest.Text(t, claims)
		if !strings.Contains(payload, old) {
			t.Fatalf("%s is not in %s", old, payload)
		}
		return es.Raw(t, tokentest.Text(t, es.Header()), strings.Replace(payload, old, changed, 1))
	}
	rawHead := func(header string) string { return es.Raw(t, header, tokentest.Text(t, claims)) }
	unsigned := func(alg string) string {
		return tokentest.Encode([]byte(tokentest.Text(t, tokentest.With(es.Header(), object{"alg": alg})))) + "." + parts[1] + "."
	}
	exp := fmt.Sprintf(`"exp":%d`, now.Add(5*time.Minute).Unix())

	attacks := map[string]struct {
		token string
		want  error
	}{
		// Form.
		"nothing":                {"", token.ErrMalformed},
		"one part":               {parts[0], token.ErrMalformed},
		"two parts":              {parts[0] + "." + parts[1], token.ErrMalformed},
		"four parts":             {good + "." + parts[2], token.ErrMalformed},
		"four parts, last empty": {good + ".", token.ErrMalformed},
		"JWE":                    {good + ".a.b", token.ErrMalformed},
		"dots":                   {"..", token.ErrMalformed},
		"empty header":           {"." + parts[1] + "." + parts[2], token.ErrMalformed},
		"empty payload":          {parts[0] + ".." + parts[2], token.ErrMalformed},
		"empty signature":        {parts[0] + "." + parts[1] + ".", token.ErrMalformed},
		"space before":           {" " + good, token.ErrMalformed},
		"space after":            {good + " ", token.ErrMalformed},
		"line break after":       {good + "\n", token.ErrMalformed},
		"line break inside":      {parts[0] + "\n." + parts[1] + "." + parts[2], token.ErrMalformed},
		"CRLF in the signature":  {parts[0] + "." + parts[1] + "." + parts[2][:4] + "\r\n" + parts[2][4:], token.ErrMalformed},
		"NUL after":              {good + "\x00", token.ErrMalformed},
		"padding":                {good + "==", token.ErrMalformed},
		"padded header":          {parts[0] + "=." + parts[1] + "." + parts[2], token.ErrMalformed},
		"plus and slash":         {parts[0] + "." + parts[1] + "." + "+/" + parts[2][2:], token.ErrMalformed},
		"percent":                {strings.ReplaceAll(good, ".", "%2e"), token.ErrMalformed},
		"trailing bits":          {parts[0] + "." + parts[1] + "." + trailingBits(t, parts[2]), token.ErrMalformed},
		"a character short":      {good[:len(good)-1], token.ErrMalformed}, // 85 characters are no base64url of anything
		"a byte short":           {good[:len(good)-2], token.ErrUntrusted}, // 84 are, of 63 bytes: not a P-256 signature
		"full stop look-alike":   {strings.ReplaceAll(good, ".", "\u2024"), token.ErrMalformed},
		"one mebibyte":           {body(object{"pad": strings.Repeat("a", 1<<20)}), token.ErrMalformed},
		"beyond the size":        {body(object{"pad": strings.Repeat("a", 8<<10)}), token.ErrMalformed},
		"a mebibyte of dots":     {strings.Repeat(".", 1<<20), token.ErrMalformed},
		"JSON serialization":     {`{"payload":"` + parts[1] + `"}`, token.ErrMalformed},

		// JSON.
		"header an array":         {rawHead(`["alg","ES256"]`), token.ErrMalformed},
		"header two objects":      {rawHead(tokentest.Text(t, es.Header()) + `{}`), token.ErrMalformed},
		"payload a string":        {es.Raw(t, tokentest.Text(t, es.Header()), `"alice"`), token.ErrMalformed},
		"payload two objects":     {es.Raw(t, tokentest.Text(t, es.Header()), tokentest.Text(t, claims)+tokentest.Text(t, claims)), token.ErrMalformed},
		"payload not UTF-8":       {rawBody("alice", "al\xffce"), token.ErrMalformed},
		"payload with NUL":        {rawBody("alice", "al\x00ce"), token.ErrMalformed},
		"escaped NUL":             {rawBody("alice", `al\u0000ce`), token.ErrMalformed},
		"lone surrogate":          {rawBody("alice", `al\ud800ce`), token.ErrMalformed},
		"alg twice":               {rawHead(`{"alg":"none","typ":"at+jwt","kid":"ES256","alg":"ES256"}`), token.ErrMalformed},
		"sub twice":               {rawBody(`"sub":"alice"`, `"sub":"alice","sub":"bob"`), token.ErrMalformed},
		"sub twice, once escaped": {rawBody(`"sub":"alice"`, `"sub":"alice","\u0073ub":"bob"`), token.ErrMalformed},
		"exp twice":               {rawBody(exp, exp+`,"exp":1`), token.ErrMalformed},
		"twice, deep inside":      {rawBody(exp, exp+`,"x":{"y":[{"z":1,"z":2}]}`), token.ErrMalformed},
		"nested deeply":           {rawBody(exp, exp+`,"x":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)), token.ErrMalformed},
		"nested in the header":    {rawHead(`{"alg":"ES256","typ":"at+jwt","kid":"ES256","x":[[[[[]]]]]}`), token.ErrMalformed},
		"a thousand members":      {rawBody(exp, exp+manyMembers(1000)), token.ErrMalformed},
		"huge number elsewhere":   {rawBody(exp, exp+`,"x":1e400`), token.ErrMalformed},

		// Header.
		"alg missing":         {head(object{"alg": nil}), token.ErrUntrusted},
		"alg null":            {rawHead(`{"alg":null,"typ":"at+jwt","kid":"ES256"}`), token.ErrUntrusted},
		"alg an array":        {head(object{"alg": []string{"ES256"}}), token.ErrUntrusted},
		"alg none":            {unsigned("none"), token.ErrUntrusted},
		"alg None":            {unsigned("None"), token.ErrUntrusted},
		"alg NONE":            {unsigned("NONE"), token.ErrUntrusted},
		"alg nOnE":            {unsigned("nOnE"), token.ErrUntrusted},
		"alg none, signed":    {head(object{"alg": "none"}), token.ErrUntrusted},
		"alg empty":           {unsigned(""), token.ErrUntrusted},
		"alg es256":           {head(object{"alg": "es256"}), token.ErrUntrusted},
		"alg with a space":    {head(object{"alg": "ES256 "}), token.ErrUntrusted},
		"alg ES384":           {head(object{"alg": "ES384"}), token.ErrUntrusted},
		"alg PS256":           {ours.RS256.Sign(t, tokentest.With(ours.RS256.Header(), object{"alg": "PS256"}), claims), token.ErrUntrusted},
		"typ missing":         {head(object{"typ": nil}), token.ErrUntrusted},
		"typ empty":           {head(object{"typ": ""}), token.ErrUntrusted},
		"typ JWT":             {head(object{"typ": "JWT"}), token.ErrUntrusted},
		"typ logout+jwt":      {head(object{"typ": "logout+jwt"}), token.ErrUntrusted},
		"typ secevent+jwt":    {head(object{"typ": "secevent+jwt"}), token.ErrUntrusted},
		"typ dpop+jwt":        {head(object{"typ": "dpop+jwt"}), token.ErrUntrusted},
		"typ text/at+jwt":     {head(object{"typ": "text/at+jwt"}), token.ErrUntrusted},
		"typ with a space":    {head(object{"typ": "at+jwt "}), token.ErrUntrusted},
		"typ an array":        {head(object{"typ": []string{"at+jwt"}}), token.ErrUntrusted},
		"crit":                {head(object{"crit": []string{"exp"}}), token.ErrMalformed},
		"crit empty":          {head(object{"crit": []string{}}), token.ErrMalformed},
		"crit null":           {rawHead(`{"alg":"ES256","typ":"at+jwt","kid":"ES256","crit":null}`), token.ErrMalformed},
		"b64 false":           {head(object{"b64": false}), token.ErrMalformed},
		"b64 true":            {head(object{"b64": true}), token.ErrMalformed},
		"jku":                 {head(object{"jku": string(theirs.ID())}), token.ErrMalformed},
		"x5u":                 {head(object{"x5u": string(theirs.ID())}), token.ErrMalformed},
		"jwk":                 {theirs.ES256.Sign(t, tokentest.With(es.Header(), object{"jwk": object{"kty": "EC"}}), claims), token.ErrMalformed},
		"x5c":                 {head(object{"x5c": []string{"AA"}}), token.ErrMalformed},
		"kid missing":         {head(object{"kid": nil}), token.ErrMalformed},
		"kid empty":           {head(object{"kid": ""}), token.ErrMalformed},
		"kid a number":        {head(object{"kid": 1}), token.ErrMalformed},
		"kid unknown":         {head(object{"kid": "unknown"}), token.ErrUntrusted},
		"kid, other case":     {head(object{"kid": "es256"}), token.ErrUntrusted},
		"kid a path":          {head(object{"kid": "../../../../dev/null"}), token.ErrUntrusted},
		"kid a query":         {head(object{"kid": "ES256'OR'1'='1"}), token.ErrUntrusted},
		"kid a URL":           {head(object{"kid": string(theirs.ID())}), token.ErrUntrusted},
		"kid with NUL":        {head(object{"kid": "ES256\x00"}), token.ErrMalformed},
		"kid with line break": {head(object{"kid": "ES256\r\nX-Auth-Subject: root"}), token.ErrMalformed},
		"kid too long":        {head(object{"kid": strings.Repeat("k", 257)}), token.ErrMalformed},

		// Signature and keys.
		"header changed":            {flip(good, 0), token.ErrMalformed},
		"payload replaced":          {parts[0] + "." + strings.Split(body(object{"sub": "root"}), ".")[1] + "." + parts[2], token.ErrUntrusted},
		"signature changed":         {flip(good, 2), token.ErrUntrusted},
		"signature of zeros":        {parts[0] + "." + parts[1] + "." + tokentest.Encode(make([]byte, 64)), token.ErrUntrusted},
		"signature in DER":          {parts[0] + "." + parts[1] + "." + tokentest.Encode(append([]byte{0x30, 0x45}, make([]byte, 69)...)), token.ErrUntrusted},
		"signature very long":       {parts[0] + "." + parts[1] + "." + tokentest.Encode(make([]byte, 1025)), token.ErrMalformed},
		"HS256 with the public key": {hmacWithPublicKey(t, ours, claims), token.ErrUntrusted},
		"RS256 with the ES256 kid":  {ours.RS256.Sign(t, tokentest.With(ours.RS256.Header(), object{"kid": "ES256"}), claims), token.ErrUntrusted},
		"ES256 with the RS256 kid":  {head(object{"kid": "RS256"}), token.ErrUntrusted},
		"EdDSA with the ES256 kid":  {ours.EdDSA.Sign(t, tokentest.With(ours.EdDSA.Header(), object{"kid": "ES256"}), claims), token.ErrUntrusted},
		"ES256 named RS256":         {head(object{"alg": "RS256"}), token.ErrUntrusted},
		"our claims, their key":     {theirs.ES256.Sign(t, theirs.ES256.Header(), claims), token.ErrUntrusted},
		"our claims, same kid":      {same.ES256.Sign(t, same.ES256.Header(), claims), token.ErrUntrusted},
		"their claims, our key":     {es.Sign(t, es.Header(), theirs.Claims(now)), token.ErrUntrusted},

		// Claims.
		"iss unknown":            {body(object{"iss": "https://evil.example"}), token.ErrUntrusted},
		"iss with a slash":       {body(object{"iss": string(ours.ID()) + "/"}), token.ErrUntrusted},
		"iss in capitals":        {body(object{"iss": strings.ToUpper(string(ours.ID()))}), token.ErrUntrusted},
		"iss missing":            {body(object{"iss": nil}), token.ErrUntrusted},
		"iss an array":           {body(object{"iss": []any{ours.ID()}}), token.ErrUntrusted},
		"Iss for iss":            {body(object{"iss": nil, "Iss": ours.ID()}), token.ErrUntrusted},
		"aud of others":          {body(object{"aud": "https://other.example"}), token.ErrUntrusted},
		"aud of others, many":    {body(object{"aud": []string{"a", tokentest.Audience + "/", "b"}}), token.ErrUntrusted},
		"aud, a prefix":          {body(object{"aud": tokentest.Audience[:8]}), token.ErrUntrusted},
		"aud empty":              {body(object{"aud": []string{}}), token.ErrUntrusted},
		"aud missing":            {body(object{"aud": nil}), token.ErrUntrusted},
		"aud an object":          {body(object{"aud": object{tokentest.Audience: 1}}), token.ErrMalformed},
		"aud mixed":              {body(object{"aud": []any{tokentest.Audience, 1}}), token.ErrMalformed},
		"exp missing":            {body(object{"exp": nil}), token.ErrMalformed},
		"exp null":               {rawBody(exp, `"exp":null`), token.ErrMalformed},
		"exp a string":           {rawBody(exp, `"exp":"99999999999"`), token.ErrMalformed},
		"exp an array":           {rawBody(exp, `"exp":[99999999999]`), token.ErrMalformed},
		"exp a huge exponent":    {rawBody(exp, `"exp":1e999999999`), token.ErrMalformed},
		"exp beyond all time":    {rawBody(exp, `"exp":1e18`), token.ErrMalformed},
		"exp beyond int64":       {rawBody(exp, `"exp":9223372036854775808`), token.ErrMalformed},
		"exp in milliseconds":    {rawBody(exp, fmt.Sprintf(`"exp":%d`, now.Add(time.Minute).UnixMilli())), token.ErrMalformed},
		"exp negative":           {rawBody(exp, `"exp":-1`), token.ErrMalformed},
		"exp true":               {rawBody(exp, `"exp":true`), token.ErrMalformed},
		"exp in hex":             {rawBody(exp, `"exp":0x7fffffff`), token.ErrMalformed},
		"exp NaN":                {rawBody(exp, `"exp":NaN`), token.ErrMalformed},
		"expired":                {body(object{"exp": now.Add(-5 * time.Second).Unix()}), token.ErrExpired},
		"expired in 1970":        {body(object{"exp": 0}), token.ErrExpired},
		"nbf in the future":      {body(object{"nbf": now.Add(6 * time.Second).Unix()}), token.ErrPremature},
		"nbf just in the future": {rawBody(exp, exp+fmt.Sprintf(`,"nbf":%d.5`, now.Add(5*time.Second).Unix())), token.ErrPremature},
		"nbf a string":           {body(object{"nbf": "0"}), token.ErrMalformed},
		"iat in the future":      {body(object{"iat": now.Add(6 * time.Second).Unix()}), token.ErrPremature},
		"iat missing":            {body(object{"iat": nil}), token.ErrMalformed},
		"iat a string":           {body(object{"iat": "1"}), token.ErrMalformed},
		"sub missing":            {body(object{"sub": nil}), token.ErrMalformed},
		"sub empty":              {body(object{"sub": ""}), token.ErrMalformed},
		"sub a number":           {body(object{"sub": 1}), token.ErrMalformed},
		"sub with a line break":  {body(object{"sub": "alice\r\nX-Auth-Roles: admin"}), token.ErrMalformed},
		"sub with a C1 control":  {body(object{"sub": "alice\u0085"}), token.ErrMalformed},
		"sub with DEL":           {body(object{"sub": "alice\x7f"}), token.ErrMalformed},
		"sub with a space":       {body(object{"sub": " alice"}), token.ErrMalformed},
		"sub with a space after": {body(object{"sub": "alice "}), token.ErrMalformed},
		"scope with a tab":       {body(object{"scope": "read\twrite"}), token.ErrMalformed},
		"scope an array":         {body(object{"scope": []string{"read"}}), token.ErrMalformed},
		"role with a line break": {body(object{"roles": []string{"user", "x\nX-Auth-Subject: root"}}), token.ErrMalformed},
		"roles an object":        {body(object{"roles": object{"admin": true}}), token.ErrMalformed},
		"sid a number":           {body(object{"sid": 1}), token.ErrMalformed},
		"jti missing":            {body(object{"jti": nil}), token.ErrMalformed},
		"client_id missing":      {body(object{"client_id": nil}), token.ErrMalformed},
		"ssq no position":        {body(object{"ssq": "41"}), token.ErrMalformed},
		"ssq a number":           {body(object{"ssq": 41}), token.ErrMalformed},
		"tsq signed":             {body(object{"tsq": "0:-1"}), token.ErrMalformed},
		"tsq out of range":       {body(object{"tsq": "0:99999999999999999999"}), token.ErrMalformed},
		"logout token":           {body(object{"events": object{"http://schemas.openid.net/event/backchannel-logout": object{}}}), token.ErrUntrusted},
		"bound to a key":         {body(object{"cnf": object{"jkt": "AA"}}), token.ErrUnsupported},
		"bound to a certificate": {body(object{"cnf": object{"x5t#S256": "AA"}}), token.ErrUnsupported},
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time a cache could have been misled
				got, err := v.Verify(t.Context(), attack.token, now)
				if got != nil || !errors.Is(err, attack.want) {
					t.Fatalf("got %+v, %v; want %v", got, err, attack.want)
				}
				if d := v.Diagnose(t.Context(), attack.token, now); d.Taken || faults(d) == "" {
					t.Fatalf("diagnosed as %+v", d)
				}
				if err != nil && len(attack.token) > 20 && strings.Contains(err.Error(), attack.token[:20]) {
					t.Error("the error repeats the token")
				}
			}
		})
	}
	for name, s := range map[string]tokentest.Signer{"ES256": ours.ES256, "RS256": ours.RS256, "EdDSA": ours.EdDSA} {
		if _, err := v.Verify(t.Context(), s.Sign(t, s.Header(), claims), now); err != nil {
			t.Errorf("good %s token: %v", name, err)
		}
		if d := v.Diagnose(t.Context(), s.Sign(t, s.Header(), claims), now); !d.Taken || faults(d) != "" {
			t.Errorf("good %s token, diagnosed: %+v", name, d)
		}
	}
	if _, err := v.Verify(t.Context(), theirs.ES256.Sign(t, theirs.ES256.Header(), theirs.Claims(now)), now); err != nil {
		t.Errorf("their good token: %v", err)
	}
}

// trailingBits sets a bit that no byte of the value uses. A 64-byte signature has
// 86 characters, the last of which carries four spare bits.
func trailingBits(t *testing.T, s string) string {
	t.Helper()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	at := strings.IndexByte(alphabet, s[len(s)-1])
	if len(s) != 86 || at&15 != 0 {
		t.Fatalf("signature %q has no spare bits", s)
	}
	return s[:len(s)-1] + alphabet[at|1:at|1+1]
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	return b.String()
}

// hmacWithPublicKey is the classic confusion: the public key, which everybody
// has, taken for an HMAC secret.
func hmacWithPublicKey(t *testing.T, i *tokentest.Issuer, claims object) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(i.RS256.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signed := tokentest.Encode([]byte(tokentest.Text(t, tokentest.With(i.RS256.Header(), object{"alg": "HS256"})))) + "." + tokentest.Encode([]byte(tokentest.Text(t, claims)))
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	_, _ = mac.Write([]byte(signed))
	return signed + "." + tokentest.Encode(mac.Sum(nil))
}
