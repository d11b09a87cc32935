package memstore_test

import (
	"testing"

	"github.com/revocast/revocast/sidecar/internal/denylist"
	"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest"
	"github.com/revocast/revocast/sidecar/internal/denylist/memstore"
)

func TestStore(t *testing.T) {
	denylisttest.Run(t, func(testing.TB) denylist.Store { return memstore.New() })
}
