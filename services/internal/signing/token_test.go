package signing

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events/claims"
)

func TestSignAndVerify(t *testing.T) {
	dir := filled(t)
	for _, algorithm := range []string{"", "ES256", "RS256"} {
		cfg := config(dir)
		cfg.Algorithm = algorithm
		k := open(t, cfg)
		for name, change := range map[string]func(*claims.Access){
			"whole":            func(*claims.Access) {},
			"two audiences":    func(c *claims.Access) { c.Audience = claims.Audience{"https://other.example", audience} },
			"without session":  func(c *claims.Access) { c.Session, c.SessionAt = "", "" },
			"odd characters":   func(c *claims.Access) { c.Subject = "a<b>&\"\\\u2028é" },
			"the least":        func(c *claims.Access) { *c = least(*c) },
			"expires 1 s on":   func(c *claims.Access) { c.Expires = c.IssuedAt + 1 },
			"without any role": func(c *claims.Access) { c.Roles = nil },
		} {
			c := access(t)
			change(&c)
			token, err := k.Sign(c)
			if err != nil {
				t.Fatalf("%s %s: %v", algorithm, name, err)
			}
			got, kid, err := k.Verify(token, noon())
			if err != nil || !reflect.DeepEqual(got, c) || kid == "" {
				t.Errorf("%s %s: read back as %+v under %q, %v", algorithm, name, got, kid, err)
			}
			// Another issuer of the realm that signs with the other algorithm.
			if _, _, err := open(t, config(dir)).Verify(token, noon()); err != nil {
				t.Errorf("%s %s: refused elsewhere: %v", algorithm, name, err)
			}
		}
	}
}

func least(c claims.Access) claims.Access {
	return claims.Access{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ClientID: c.ClientID,
		IssuedAt: c.IssuedAt, Expires: c.Expires, ID: c.ID,
	}
}

// A library that knows nothing of this package reads what it signs.
func TestSignedTokensAreOrdinaryJWTs(t *testing.T) {
	k := open(t, config(filled(t)))
	c := access(t)
	token, err := k.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(noon),
	).Parse(token, func(t *jwt.Token) (any, error) {
		if t.Header["typ"] != "at+jwt" || t.Header["kid"] != string(k.first[0].public.described.ID) || len(t.Header) != 3 {
			return nil, errors.New("another header")
		}
		return k.first[0].public.key, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	m, ok := got.Claims.(jwt.MapClaims)
	if !ok || m["aud"] != audience || m["client_id"] != "app" || m["sid"] != c.Session || m["ssq"] != "0:1795000000000001" {
		t.Errorf("claims %v", got.Claims)
	}
}

func TestSignRefuses(t *testing.T) {
	k := open(t, config(filled(t)))
	for name, change := range map[string]func(*claims.Access){
		"nothing":          func(c *claims.Access) { *c = claims.Access{} },
		"another issuer":   func(c *claims.Access) { c.Issuer = "https://evil.example" },
		"another audience": func(c *claims.Access) { c.Audience = claims.Audience{"https://evil.example"} },
		"no audience":      func(c *claims.Access) { c.Audience = nil },
		"empty audience":   func(c *claims.Access) { c.Audience = claims.Audience{audience, ""} },
		"no subject":       func(c *claims.Access) { c.Subject = "" },
		"no client":        func(c *claims.Access) { c.ClientID = "" },
		"no id":            func(c *claims.Access) { c.ID = "" },
		"no iat":           func(c *claims.Access) { c.IssuedAt = 0 },
		"no exp":           func(c *claims.Access) { c.Expires = 0 },
		"ends as it begins": func(c *claims.Access) {
			c.Expires = c.IssuedAt
		},
		"sid is a wildcard": func(c *claims.Access) { c.Session = "*" },
		"jti is no UUID":    func(c *claims.Access) { c.ID = "jti-1" },
		"half a position":   func(c *claims.Access) { c.MintedAt = "0:" },
		"oversize":          func(c *claims.Access) { c.Scope = strings.Repeat("x", maxToken) },
	} {
		t.Run(name, func(t *testing.T) {
			c := access(t)
			change(&c)
			if token, err := k.Sign(c); err == nil || token != "" {
				t.Errorf("signed %q, %v", token, err)
			}
		})
	}
}

// craft signs whatever it is given as a header and a payload.
func craft(tb testing.TB, key *Pair, head, body string) string {
	tb.Helper()
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(head)) + "." + enc.EncodeToString([]byte(body))
	signature, err := key.public.method.Sign(text, key.private)
	if err != nil {
		tb.Fatal(err)
	}
	return text + "." + enc.EncodeToString(signature)
}

// hmacToken is a token under HS256 with a secret that an attacker can know.
func hmacToken(head, body string, secret []byte) string {
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(head)) + "." + enc.EncodeToString([]byte(body))
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(text))
	return text + "." + enc.EncodeToString(mac.Sum(nil))
}

func with(tb testing.TB, c claims.Access, member string, value any) string {
	tb.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		tb.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		tb.Fatal(err)
	}
	// Large numbers would come out as floating point.
	m["iat"], m["exp"] = c.IssuedAt, c.Expires
	if m[member] = value; value == nil {
		delete(m, member)
	}
	if b, err = json.Marshal(m); err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func TestVerifyRefusesForeignHeaders(t *testing.T) {
	dir := filled(t)
	k := open(t, config(dir))
	es, rs := k.first[0], k.first[1]
	kid := string(es.public.described.ID)
	stranger := &Pair{public: es.public, private: mustKey(t)}
	body := with(t, access(t), "x", "unknown claims are left alone")
	head := `{"alg":"ES256","kid":"` + kid + `","typ":"at+jwt"}`
	if _, _, err := k.Verify(craft(t, es, head, body), noon()); err != nil {
		t.Fatalf("the pattern itself is refused: %v", err)
	}
	der, err := x509.MarshalPKIXPublicKey(es.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"alg none":               {unsigned(`{"alg":"none","kid":"`+kid+`","typ":"at+jwt"}`, body) + ".", ErrMalformed},
		"alg none, a signature":  {unsigned(`{"alg":"none","kid":"`+kid+`","typ":"at+jwt"}`, body) + ".AAAA", ErrUntrusted},
		"alg none, signed":       {craft(t, es, `{"alg":"none","kid":"`+kid+`","typ":"at+jwt"}`, body), ErrUntrusted},
		"alg in another case":    {craft(t, es, `{"alg":"es256","kid":"`+kid+`","typ":"at+jwt"}`, body), ErrUntrusted},
		"alg of another key":     {craft(t, es, `{"alg":"RS256","kid":"`+kid+`","typ":"at+jwt"}`, body), ErrUntrusted},
		"kid of another key":     {craft(t, es, `{"alg":"ES256","kid":"`+string(rs.public.described.ID)+`","typ":"at+jwt"}`, body), ErrUntrusted},
		"RS256 as PS256":         {craft(t, rs, `{"alg":"PS256","kid":"`+string(rs.public.described.ID)+`","typ":"at+jwt"}`, body), ErrUntrusted},
		"HS256 by the PEM":       {hmacToken(`{"alg":"HS256","kid":"`+kid+`","typ":"at+jwt"}`, body, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), ErrUntrusted},
		"HS256 by the DER":       {hmacToken(`{"alg":"HS256","kid":"`+kid+`","typ":"at+jwt"}`, body, der), ErrUntrusted},
		"HS256 by the key set":   {hmacToken(`{"alg":"HS256","kid":"`+kid+`","typ":"at+jwt"}`, body, k.ring.Load().jwks), ErrUntrusted},
		"HS256 under our header": {hmacToken(head, body, der), ErrUntrusted},
		"no alg":                 {craft(t, es, `{"kid":"`+kid+`","typ":"at+jwt"}`, body), ErrUntrusted},
		"alg a number":           {craft(t, es, `{"alg":256,"kid":"`+kid+`","typ":"at+jwt"}`, body), ErrMalformed},
		"no kid":                 {craft(t, es, `{"alg":"ES256","typ":"at+jwt"}`, body), ErrUntrusted},
		"unknown kid":            {craft(t, es, `{"alg":"ES256","kid":"../../etc/passwd","typ":"at+jwt"}`, body), ErrUntrusted},
		"no typ":                 {craft(t, es, `{"alg":"ES256","kid":"`+kid+`"}`, body), ErrUntrusted},
		"typ JWT":                {craft(t, es, `{"alg":"ES256","kid":"`+kid+`","typ":"JWT"}`, body), ErrUntrusted},
		"typ logout+jwt":         {craft(t, es, `{"alg":"ES256","kid":"`+kid+`","typ":"logout+jwt"}`, body), ErrUntrusted},
		"typ secevent+jwt":       {craft(t, es, `{"alg":"ES256","kid":"`+kid+`","typ":"secevent+jwt"}`, body), ErrUntrusted},
		"typ in another case":    {craft(t, es, `{"alg":"ES256","kid":"`+kid+`","typ":"AT+JWT"}`, body), ErrUntrusted},
		"typ with a space":       {craft(t, es, `{"alg":"ES256","kid":"`+kid+`","typ":"at+jwt "}`, body), ErrUntrusted},
		"crit":                   {craft(t, es, head[:len(head)-1]+`,"crit":["x"],"x":1}`, body), ErrMalformed},
		"empty crit":             {craft(t, es, head[:len(head)-1]+`,"crit":[]}`, body), ErrMalformed},
		"b64":                    {craft(t, es, head[:len(head)-1]+`,"b64":false}`, body), ErrMalformed},
		"jku":                    {craft(t, es, head[:len(head)-1]+`,"jku":"https://evil.example/"}`, body), ErrMalformed},
		"jwk":                    {craft(t, es, head[:len(head)-1]+`,"jwk":{"kty":"EC"}}`, body), ErrMalformed},
		"x5c":                    {craft(t, es, head[:len(head)-1]+`,"x5c":[]}`, body), ErrMalformed},
		"zip":                    {craft(t, es, head[:len(head)-1]+`,"zip":"DEF"}`, body), ErrMalformed},
		"alg twice":              {craft(t, es, head[:len(head)-1]+`,"alg":"ES256"}`, body), ErrMalformed},
		"alg twice, escaped":     {craft(t, es, head[:len(head)-1]+`,"\u0061lg":"none"}`, body), ErrMalformed},
		"Alg besides":            {craft(t, es, head[:len(head)-1]+`,"Alg":"none"}`, body), ErrMalformed},
		"text behind the header": {craft(t, es, head+"{}", body), ErrMalformed},
		"header a list":          {craft(t, es, "["+head+"]", body), ErrMalformed},
		"header null":            {craft(t, es, "null", body), ErrUntrusted},
		"header not UTF-8":       {craft(t, es, "{\"alg\":\"ES256\xff\"}", body), ErrMalformed},
		"another issuer's key":   {craft(t, stranger, head, body), ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) { refuses(t, k, c.token, c.want) })
	}
}

func refuses(t *testing.T, k *Keys, token string, want error) {
	t.Helper()
	got, kid, err := k.Verify(token, noon())
	// What is wrong with its time alone is told with what it says.
	timely := errors.Is(want, ErrExpired) || errors.Is(want, ErrFuture)
	if !errors.Is(err, want) || (kid != "") != timely || reflect.DeepEqual(got, claims.Access{}) == timely {
		t.Errorf("got %v and %+v, want %v", err, got, want)
	}
	if err != nil && len(err.Error()) > 100 {
		t.Errorf("%q may hold a part of the token", err)
	}
}

func mustKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(mustNew(t, newES256))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("%T", key)
	}
	return k
}

func unsigned(head, body string) string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(head)) + "." + enc.EncodeToString([]byte(body))
}

func TestVerifyRefusesClaims(t *testing.T) {
	k := open(t, config(filled(t)))
	head := `{"alg":"ES256","kid":"` + string(k.first[0].public.described.ID) + `","typ":"at+jwt"}`
	c := access(t)
	whole := with(t, c, "", nil)
	now := noon().Unix()
	for name, v := range map[string]struct {
		body string
		want error
	}{
		"no iss":                 {with(t, c, "iss", nil), ErrUntrusted},
		"another iss":            {with(t, c, "iss", "https://evil.example"), ErrUntrusted},
		"iss with a slash more":  {with(t, c, "iss", issuer+"/"), ErrUntrusted},
		"iss a list":             {with(t, c, "iss", []string{issuer}), ErrMalformed},
		"no aud":                 {with(t, c, "aud", nil), ErrUntrusted},
		"another aud":            {with(t, c, "aud", "https://evil.example"), ErrUntrusted},
		"aud is the client":      {with(t, c, "aud", "app"), ErrUntrusted},
		"no aud in the list":     {with(t, c, "aud", []string{}), ErrUntrusted},
		"empty aud besides":      {with(t, c, "aud", []string{audience, ""}), ErrMalformed},
		"aud a number":           {with(t, c, "aud", 7), ErrMalformed},
		"aud an object":          {with(t, c, "aud", map[string]string{"a": audience}), ErrMalformed},
		"no exp":                 {with(t, c, "exp", nil), ErrMalformed},
		"exp now":                {with(t, c, "exp", now), ErrMalformed}, // and so not after iat
		"exp a string":           {with(t, c, "exp", "1795000300"), ErrMalformed},
		"exp a fraction":         {with(t, c, "exp", 1795000300.5), ErrMalformed},
		"exp beyond 64 bits":     {strings.Replace(whole, "1795000300", "179500030000000000000", 1), ErrMalformed},
		"exp with an exponent":   {strings.Replace(whole, "1795000300", "1.7950003e9", 1), ErrMalformed},
		"exp negative":           {with(t, c, "exp", -1), ErrMalformed},
		"no iat":                 {with(t, c, "iat", nil), ErrMalformed},
		"iat in the future":      {with(t, c, "iat", now+3), ErrFuture},
		"no sub":                 {with(t, c, "sub", nil), ErrMalformed},
		"empty sub":              {with(t, c, "sub", ""), ErrMalformed},
		"sub a number":           {with(t, c, "sub", 7), ErrMalformed},
		"no client_id":           {with(t, c, "client_id", nil), ErrMalformed},
		"no jti":                 {with(t, c, "jti", nil), ErrMalformed},
		"jti in upper case":      {with(t, c, "jti", strings.ToUpper(c.ID)), ErrMalformed},
		"jti in braces":          {with(t, c, "jti", "{"+c.ID+"}"), ErrMalformed},
		"sid a wildcard":         {with(t, c, "sid", ">"), ErrMalformed},
		"sid with a dot":         {with(t, c, "sid", "a.b"), ErrMalformed},
		"ssq a number":           {with(t, c, "ssq", 5), ErrMalformed},
		"ssq with a zero more":   {with(t, c, "ssq", "0:01"), ErrMalformed},
		"tsq beyond JSON":        {with(t, c, "tsq", "0:18446744073709551615"), ErrMalformed},
		"bound to a key":         {with(t, c, "cnf", map[string]string{"jkt": "x"}), ErrMalformed},
		"sub twice":              {whole[:len(whole)-1] + `,"sub":"u-1"}`, ErrMalformed},
		"sub twice, escaped":     {whole[:len(whole)-1] + `,"\u0073ub":"u-1"}`, ErrMalformed},
		"a stranger twice":       {whole[:len(whole)-1] + `,"y":1,"y":2}`, ErrMalformed},
		"twice, further down":    {whole[:len(whole)-1] + `,"y":{"z":1,"z":2}}`, ErrMalformed},
		"text behind":            {whole + " x", ErrMalformed},
		"a list":                 {"[" + whole + "]", ErrMalformed},
		"null":                   {"null", ErrUntrusted},
		"nothing":                {"", ErrMalformed},
		"not UTF-8":              {strings.Replace(whole, "u-7", "u-\xff", 1), ErrMalformed},
		"sub in another case":    {strings.Replace(whole, `"sub"`, `"SUB"`, 1), ErrMalformed},
		"another's sub besides ": {whole[:len(whole)-1] + `,"Sub":"u-1","iss":"x"}`, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) { refuses(t, k, craft(t, k.first[0], head, v.body), v.want) })
	}
}

func TestVerifyInTime(t *testing.T) {
	k := open(t, config(filled(t)))
	c := access(t)
	token, err := k.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		now  time.Time
		want error
	}{
		"as it is minted":         {time.Unix(c.IssuedAt, 0), nil},
		"by a clock that is late": {time.Unix(c.IssuedAt-2, 0), nil},
		"by one that is too late": {time.Unix(c.IssuedAt-2, -1), ErrFuture},
		"in its last moment":      {time.Unix(c.Expires, -1), nil},
		"when it ends":            {time.Unix(c.Expires, 0), ErrExpired},
		"a year later":            {time.Unix(c.Expires, 0).AddDate(1, 0, 0), ErrExpired},
	} {
		if _, _, err := k.Verify(token, v.now); !errors.Is(err, v.want) {
			t.Errorf("%s: %v, want %v", name, err, v.want)
		}
	}
}

func TestVerifyTakesOneSpelling(t *testing.T) {
	cfg := config(filled(t))
	k := open(t, cfg)
	token, err := k.Sign(access(t))
	if err != nil {
		t.Fatal(err)
	}
	p := strings.Split(token, ".")
	// 64 bytes of signature leave four unused bits in the last character.
	last := p[2][len(p[2])-1]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	loose := p[2][:len(p[2])-1] + string(alphabet[strings.IndexByte(alphabet, last)+1])
	for name, s := range map[string]string{
		"nothing":              "",
		"dots":                 "..",
		"two parts":            p[0] + "." + p[1],
		"no signature":         p[0] + "." + p[1] + ".",
		"four parts":           token + "." + p[2],
		"five parts":           token + ".." + p[2],
		"dot behind":           token + ".",
		"space before":         " " + token,
		"line break behind":    token + "\n",
		"line break inside":    p[0][:8] + "\n" + p[0][8:] + "." + p[1] + "." + p[2],
		"return in the middle": p[0] + "." + p[1][:8] + "\r\n" + p[1][8:] + "." + p[2],
		"break in signature":   p[0] + "." + p[1] + "." + p[2][:8] + "\n" + p[2][8:],
		"padding":              token + "==",
		"unused bits":          p[0] + "." + p[1] + "." + loose,
		"standard alphabet":    p[0] + "." + p[1] + "." + strings.Repeat("+", len(p[2])),
		"scheme besides":       "Bearer " + token,
		"oversize":             token + strings.Repeat("A", maxToken),
		"many dots":            strings.Repeat(".", 1<<20),
	} {
		t.Run(name, func(t *testing.T) { refuses(t, k, s, ErrMalformed) })
	}
	for name, s := range map[string]string{
		"signature cut":     p[0] + "." + p[1] + "." + p[2][:84],
		"another signature": p[0] + "." + p[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"another payload":   p[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root"}`)) + "." + p[2],
	} {
		t.Run(name, func(t *testing.T) { refuses(t, k, s, ErrUntrusted) })
	}
	cfg.Dir = filepathOfStranger(t)
	refuses(t, open(t, cfg), token, ErrUntrusted)
}

// filepathOfStranger is the directory of another realm: other keys throughout.
func filepathOfStranger(t *testing.T) string {
	t.Helper()
	dir := filled(t)
	put(t, dir, fileES256, mustNew(t, newES256))
	return dir
}
