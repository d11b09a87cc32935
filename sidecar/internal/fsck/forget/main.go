// Command forget takes entries out of the store of a sidecar that does not run: those
// that expire before a moment, long before that has come. It is for tests that need a
// store which lacks something, and ships with nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/revocast/revocast/sidecar/internal/denylist/badgerstore"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "forget: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: forget DATA-DIR DURATION")
	}
	within, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	store, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(args[0], "denylist")})
	if err != nil {
		return err
	}
	return errors.Join(store.Expire(context.Background(), time.Now().Add(within)), store.Close())
}
