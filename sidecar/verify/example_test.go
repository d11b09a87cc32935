package verify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/revocast/revocast/sidecar/verify"
	"github.com/revocast/revocast/sidecar/verify/httpmw"
)

// A server that judges tokens in its own process.
func ExampleNew() {
	if err := serve(); err != nil {
		slog.Error("serving", "error", err)
	}
}

func serve() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	v, err := verify.New(
		verify.Feed("tls://broker.example:4222", "creds/sidecar.creds"),
		verify.RealmRoot("realm-root.pub"),
		verify.Trust("issuer=https://id.example,audience=https://api.example"),
		verify.DataDir("/var/lib/orders/revocast"),
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	protect, err := httpmw.New(v, httpmw.Realm("orders"), httpmw.Rules(
		verify.Rule{Match: []string{"GET /health"}, Anonymous: true},
		verify.Rule{Match: []string{"POST /orders/"}, Ask: verify.Ask{Scopes: []string{"orders:write"}}},
	))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if v.Ready() != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/orders/", func(w http.ResponseWriter, r *http.Request) {
		who, _ := verify.FromContext(r.Context())
		_, _ = fmt.Fprintf(w, "orders of %s\n", who.Subject) // the client may be gone
	})
	server := &http.Server{Addr: ":8080", Handler: protect(mux), ReadHeaderTimeout: 5 * time.Second}

	var ending sync.WaitGroup
	defer ending.Wait()
	defer stop()
	ending.Go(func() {
		<-ctx.Done()
		_ = server.Close() // and what it was doing is over
	})
	ending.Go(func() {
		defer stop()
		if err := v.Run(ctx); err != nil {
			slog.Error("following revocations", "error", err)
		}
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Before the feed has been followed to its end once, no token passes, and none is called
// bad that may be good.
func ExampleVerifier_Verify() {
	v, err := verify.New(
		verify.Feed("nats://127.0.0.1:4222", "creds/sidecar.creds"),
		verify.Trust("issuer=https://id.example,audience=https://api.example"),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = v.Verify(context.Background(), "no.token.atall")
	switch {
	case err == nil:
		fmt.Println("200")
	case errors.Is(err, verify.ErrStale):
		fmt.Println("503, with Retry-After")
	case errors.Is(err, verify.ErrInsufficientScope):
		fmt.Println("403")
	default:
		fmt.Println("401:", err)
	}
	fmt.Println(v.Ready())
	if err := v.Close(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 401: malformed token: header: not base64url without padding
	// not caught up with the feed yet
}
