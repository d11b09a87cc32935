package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/services/internal/audit"
)

// authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// certify makes a certificate and its key, signed by a; a zero authority signs itself.
func (a authority) certify(t *testing.T, name string) (cert authority, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		IsCA: a.cert == nil, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if a.cert == nil {
		template.KeyUsage = x509.KeyUsageCertSign
		a = authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return authority{made, key}, text("CERTIFICATE", der), text("PRIVATE KEY", pkcs8)
}

// Operators prove themselves by certificates over TLS, and tokens travel over nothing
// else there; a new certificate of the listener needs no restart.
func TestOperatorsOverTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, caPEM, _ := authority{}.certify(t, "authority")
	_, certPEM, keyPEM := ca.certify(t, "first")
	cert, key, clientCA := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")
	write(t, cert, certPEM)
	write(t, key, keyPEM)
	write(t, clientCA, caPEM)
	i := start(t, configure(t, dir, "--admin-tls-cert", cert, "--admin-tls-key", key, "--admin-client-ca", clientCA))
	root := i.operatorToken(t)

	// call gives the status and who the listener said it is.
	call := func(method, path, token, body string, as *tls.Certificate) (int, string, string) {
		t.Helper()
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
		if as != nil {
			config.Certificates = []tls.Certificate{*as}
		}
		client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+i.AdminListen+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", jsonType)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.TLS.PeerCertificates[0].Subject.CommonName, string(text)
	}
	wants := func(want int, method, path, token, body string, as *tls.Certificate) string {
		t.Helper()
		got, _, text := call(method, path, token, body, as)
		if got != want {
			t.Errorf("%s %s: got %d, want %d: %s", method, path, got, want, text)
		}
		return text
	}
	pair := func(name string) *tls.Certificate {
		t.Helper()
		_, certPEM, keyPEM := ca.certify(t, name)
		pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
		if err != nil {
			t.Fatal(err)
		}
		return &pair
	}

	wants(201, "POST", operatorsPath, root, `{"name":"carl","role":"support","expires_in":"1h","certificate":true}`, nil)
	vera := decode[struct{ Token string }](t, reply{body: wants(201, "POST", operatorsPath, root, object("name", "vera", "role", "viewer", "expires_in", "1h"), nil)}).Token
	carl := pair("carl")
	wants(200, "GET", "/admin/v1/clients", "", "", carl)
	wants(201, "POST", revocations, "", object("kind", "session", "id", "01935f6a-0c00-7000-8000-000000000001"), carl)
	wants(403, "POST", operatorsPath, "", object("name", "eve", "role", "viewer", "expires_in", "1h"), carl)
	wants(200, "GET", "/admin/v1/clients", vera, "", nil)
	wants(200, "GET", "/admin/v1/clients", vera, "", pair("vera"))
	wants(401, "GET", "/admin/v1/clients", vera, "", carl)
	wants(401, "GET", "/admin/v1/clients", root, "", carl)
	wants(401, "GET", "/admin/v1/clients", "wrong", "", carl)
	wants(401, "GET", "/admin/v1/clients", "", "", pair("vera"))
	wants(401, "GET", "/admin/v1/clients", "", "", pair("admin"))
	wants(401, "GET", "/admin/v1/clients", "", "", nil)

	history := decode[struct{ Events []audit.Entry }](t, reply{body: wants(200, "GET", auditPath+"?limit=1000", "", "", carl)})
	found := false
	for _, e := range history.Events {
		found = found || e.Action == "operator.POST "+revocations && e.By.Name == "carl"
	}
	if !found {
		t.Errorf("what carl did is not on record: %+v", history.Events)
	}
	wants(204, "DELETE", operatorsPath+"/carl", root, "", nil)
	wants(401, "GET", "/admin/v1/clients", "", "", carl)
	if got, err := send(request{method: "GET", url: "http://" + i.AdminListen + "/admin/v1/clients", bearer: root}); err == nil && got.status != 400 {
		t.Errorf("in the clear: %d", got.status)
	}

	_, certPEM, keyPEM = ca.certify(t, "second")
	write(t, key, keyPEM)
	write(t, cert, certPEM)
	eventually(t, func() error {
		if _, server, _ := call("GET", "/healthz", "", "", nil); server != "second" {
			return errors.New("the listener has its first certificate still")
		}
		return nil
	})
}
