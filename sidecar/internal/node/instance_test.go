package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
)

// Each run names the one before it, unless that left nothing that can be believed.
func TestTakeOver(t *testing.T) {
	dir := t.TempDir()
	first, second, third := uuid.NewString(), uuid.NewString(), uuid.NewString()
	if before, err := takeOver(dir, first); before != "" || err != nil {
		t.Errorf("the first run follows %q (%v)", before, err)
	}
	if before, err := takeOver(dir, second); before != first || err != nil {
		t.Errorf("the second run follows %q (%v), want %s", before, err, first)
	}
	if err := os.WriteFile(filepath.Join(dir, "instance"), []byte(second[:20]), 0o600); err != nil {
		t.Fatal(err)
	}
	if before, err := takeOver(dir, third); before != "" || err != nil {
		t.Errorf("after half an instance the third run follows %q (%v)", before, err)
	}
	if before, err := takeOver(filepath.Join(dir, "missing"), first); before != "" || err == nil {
		t.Errorf("without a directory it follows %q (%v)", before, err)
	}
}
