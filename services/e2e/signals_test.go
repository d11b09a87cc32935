package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A real issuer reads its clients again when it is told to, goes on with what it has
// when they are faulty, and answers what is under way when it is told to stop.
func TestIssuerHeedsSignals(t *testing.T) {
	t.Parallel()
	s := start(t, 0)
	issuer := s.Issuer()
	session := login(t, issuer, nil)
	refresh := func(want int) answer {
		t.Helper()
		got := do(t, http.MethodPost, issuer.URL()+"/oauth/token", "application/x-www-form-urlencoded", "",
			"grant_type=refresh_token&client_id=demo-mobile&refresh_token="+session.Refresh)
		if got.status != want {
			t.Fatalf("refreshing: %s, want %d", got, want)
		}
		if want == http.StatusOK {
			session = got.tokens(t)
		}
		return got
	}
	file := s.Dir().Clients()
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(file+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		if err := issuer.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	says := func(text string, times int) {
		t.Helper()
		eventually(t, 20*time.Second, fmt.Sprintf("the log says %q %d times", text, times), func() bool {
			return strings.Count(issuer.Tail(100), text) >= times
		})
	}
	if !bytes.Contains(good, []byte("demo-mobile")) {
		t.Fatal("the file does not name the client")
	}
	replace(append([]byte("nonsense: true\n"), good...))
	says("clients not reloaded", 1)
	refresh(http.StatusOK)
	replace(bytes.ReplaceAll(good, []byte("demo-mobile"), []byte("other-mobile")))
	says(`"msg":"clients reloaded"`, 1)
	refresh(http.StatusUnauthorized)
	// The file system tells of a change as well, a moment after the signal.
	replace(good)
	eventually(t, 20*time.Second, "the client is known again", func() bool {
		return do(t, http.MethodPost, issuer.URL()+"/oauth/revoke", "application/x-www-form-urlencoded", "", "client_id=demo-mobile&token=x").status == http.StatusOK
	})
	refresh(http.StatusOK)

	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(issuer.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	body := `{"username":"alice","password":"wonderland-42","client_id":"demo-mobile"}`
	if _, err := fmt.Fprintf(conn, "POST /v1/login HTTP/1.1\r\nHost: issuer\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	// The server asks for the body once its handler reads it: the request is under way.
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := issuer.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "nobody is let in any more", func() bool {
		return do(t, http.MethodGet, issuer.URL()+"/healthz", "", "", "").status == 0
	})
	if _, err := conn.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	if got.StatusCode != http.StatusOK {
		t.Errorf("the request under way was answered %d", got.StatusCode)
	}
	<-issuer.Done()
	if err := issuer.Err(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
