package proxy_test

import (
	"testing"

	"github.com/revocast/revocast/sidecar/internal/front"
	"github.com/revocast/revocast/sidecar/internal/front/fronttest"
)

// Whatever is refused never reaches the application, in either version of HTTP.
func TestAttacks(t *testing.T) {
	for kind, send := range map[string]func(*testing.T, string, fronttest.Request) fronttest.Response{
		"http": fronttest.Send,
		"h2c": func(t *testing.T, address string, r fronttest.Request) fronttest.Response {
			t.Helper()
			return fronttest.SendHTTP2(t, address, r, nil)
		},
	} {
		t.Run(kind, func(t *testing.T) {
			fronttest.Attacks(t, func(t *testing.T, check *front.Checker) fronttest.Do {
				a := newApplication(t, kind, nil)
				e := newEntrance(t, kind, a, check)
				return func(t *testing.T, r fronttest.Request) fronttest.Response {
					t.Helper()
					got := send(t, e.server.Listener.Addr().String(), r)
					if reached := a.take(); len(reached) != 0 {
						got.Application = reached[0].header
					}
					return got
				}
			})
		})
	}
	t.Run("texts", func(t *testing.T) { fronttest.Texts(t, door) })
	t.Run("disguises", func(t *testing.T) { fronttest.Disguises(t, door) })
}

func door(t *testing.T, check *front.Checker) fronttest.Door {
	t.Helper()
	a := newApplication(t, "http", nil)
	e := newEntrance(t, "http", a, check)
	return fronttest.Door{
		Address: e.server.Listener.Addr().String(),
		Reached: func(fronttest.Response) bool { return len(a.take()) != 0 },
	}
}
