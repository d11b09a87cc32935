package natsconn_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events/natsconn"
)

// Every server of a list is looked at, and none shows a password in its fault.
func TestServers(t *testing.T) {
	for list, says := range map[string]string{
		"nats://127.0.0.1:4222":                               "",
		"tls://broker.example":                                "",
		"broker.example:4222":                                 "",
		"nats://a:4222, tls://b:4223,[::1]:4222,nats://[::2]": "",

		"":                           "server 1: empty",
		"nats://a:4222,":             "server 2: empty",
		"nats://a,,nats://b":         "server 2: empty",
		"nats://a,http://b":          `server 2: "http://b": want nats:// or tls://`,
		"ws://a":                     "want nats:// or tls://",
		"nats://":                    "want a host",
		"nats://:4222":               "want a host",
		"nats://a:0":                 "want a port from 1 to 65535",
		"nats://a:65536":             "want a port from 1 to 65535",
		"nats://a:4222x":             "invalid port",
		"nats://a/b":                 "want nothing behind the port",
		"nats://a?b":                 "want nothing behind the port",
		"nats://a?":                  "want nothing behind the port",
		"nats://a#b":                 "want nothing behind the port",
		"nats://a b":                 "invalid character",
		"nats://a,tls://u:hush@b":    "server 2: a user, password or token does not belong in a URL",
		"hush@b:4222":                "server 1: a user, password or token",
		"ftp://hush@b:x":             "server 1: a user, password or token",
		"nats://a:4222 ,u:hush@b,ws": "server 2: a user, password or token",
	} {
		err := natsconn.CheckServers(list)
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%q: %v, want %q", list, err, says)
		}
		if err != nil {
			continue
		}
		// What passes, the client takes; nobody listens where it tries.
		if _, err := nats.Connect(list, nats.RetryOnFailedConnect(false), nats.SetCustomDialer(nowhere{})); err == nil || !strings.Contains(err.Error(), errNowhere.Error()) {
			t.Errorf("%q: %v", list, err)
		}
	}
	err := natsconn.CheckServers("ws://a,nats://b,ws://c")
	if err == nil || !strings.Contains(err.Error(), "server 1") || strings.Contains(err.Error(), "server 2") || !strings.Contains(err.Error(), "server 3") {
		t.Errorf("of two faults: %v", err)
	}
}

// Without files everything is left to the URLs and the servers.
func TestNoFiles(t *testing.T) {
	var none natsconn.Files
	if err := none.Check(); err != nil || len(none.Options(func(error) { t.Error("warned") })) != 0 {
		t.Error(err)
	}
}

var errNowhere = errors.New("nowhere")

// nowhere reaches nobody.
type nowhere struct{}

func (nowhere) Dial(string, string) (net.Conn, error) { return nil, errNowhere }
