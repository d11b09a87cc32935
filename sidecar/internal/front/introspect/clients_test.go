package introspect

import (
	"crypto/sha256"
	"testing"
)

// An empty secret is nobody's, even if a hash of it had come past the file's reader.
func TestNoSecret(t *testing.T) {
	nothing := sha256.Sum256(nil)
	c := Clients{
		secrets: map[string][sha256.Size]byte{"a": nothing}, bearers: map[[sha256.Size]byte]string{nothing: "a"},
	}
	if c.bySecret("a", "") {
		t.Error("an id alone proves")
	}
	if id, ok := c.byBearer(""); ok {
		t.Errorf("nothing proves %s", id)
	}
}
