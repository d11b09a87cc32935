package signing

import (
	"bytes"
	"net/http"
	"time"
)

// ServeJWKS answers with the public keys (RFC 7517 section 5), to be cached for five
// minutes: so long may a verifier go without hearing of a new key. It answers
// conditional requests by ETag, since every verifier asks again and again for what
// hardly ever changes.
func (k *Keys) ServeJWKS(w http.ResponseWriter, r *http.Request) {
	set := k.ring.Load()
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", set.jwksTag)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(set.jwks))
}
