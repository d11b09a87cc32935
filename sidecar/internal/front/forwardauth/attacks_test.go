package forwardauth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/forwardauth"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
)

// listen serves the handler within the sidecar's bounds, in HTTP/1.1 and HTTP/2.
func listen(t *testing.T, check *front.Checker) (address string) {
	t.Helper()
	h, err := forwardauth.New(forwardauth.Forwarded, check)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	server.Config.MaxHeaderBytes = 32 << 10
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// told is r as a proxy asks about it, which hands on all that the client sent.
func told(r fronttest.Request) fronttest.Request {
	header := r.Header.Clone()
	header["X-Forwarded-Method"], header["X-Forwarded-Host"], header["X-Forwarded-Uri"] = []string{r.Method}, []string{r.Host}, []string{r.Target}
	return fronttest.Request{Method: http.MethodGet, Host: "sidecar", Target: "/auth", Header: header}
}

// passed adds what the application learns: of the headers of an allowance, those that
// the proxy copies.
func passed(r fronttest.Response) fronttest.Response {
	if r.Status == http.StatusOK {
		r.Application = r.Header
	}
	return r
}

func TestAttacks(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) {
		fronttest.Attacks(t, func(t *testing.T, check *front.Checker) fronttest.Do {
			address := listen(t, check)
			return func(t *testing.T, r fronttest.Request) fronttest.Response {
				t.Helper()
				return passed(fronttest.Send(t, address, told(r)))
			}
		})
	})
	t.Run("HTTP/2", func(t *testing.T) {
		fronttest.Attacks(t, func(t *testing.T, check *front.Checker) fronttest.Do {
			address := listen(t, check)
			return func(t *testing.T, r fronttest.Request) fronttest.Response {
				t.Helper()
				return passed(fronttest.SendHTTP2(t, address, told(r), nil))
			}
		})
	})
	t.Run("texts", func(t *testing.T) {
		fronttest.Texts(t, func(t *testing.T, check *front.Checker) fronttest.Door {
			return fronttest.Door{Address: listen(t, check), Reached: func(r fronttest.Response) bool { return r.Status == http.StatusOK }}
		})
	})
}
