package app

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/tlsfiles"
	"github.com/revocast/revocast/services/internal/adminapi"
	"github.com/revocast/revocast/services/internal/audit"
	"github.com/revocast/revocast/services/internal/eventstore"
	"github.com/revocast/revocast/services/internal/operators"
)

// admin names the operators' listener.
const admin = "admin"

// administration is what operators have to do with, besides the use cases.
type administration struct {
	bootstrap [sha256.Size]byte
	operators *operators.Operators
	audit     *audit.Audit
	auditor   *adminapi.Auditor
	lines     *prometheus.CounterVec
	tls       *tlsfiles.Source // nil without TLS
}

// openAdmin reads the first operator's token and what secures the listener.
func (a *App) openAdmin(context.Context) (err error) {
	if a.admin.bootstrap, err = operatorToken(a.cfg.AdminTokenFile); err != nil {
		return err
	}
	if files := a.cfg.AdminTLS(); files.Cert != "" {
		if a.admin.tls, err = tlsfiles.Open(files); err != nil {
			return fmt.Errorf("securing the operators' listener: %w", err)
		}
	}
	return nil
}

// openAudit puts together who operators are and what the audit remembers of them.
func (a *App) openAudit(context.Context) error {
	realm, issuer := subject.Realm(a.cfg.Realm), events.Issuer(a.cfg.Issuer)
	meant := cmp.Or(a.meant(), issuer)
	journal, err1 := eventstore.NewJournal(a.conn, realm.JournalStream())
	notes, err2 := eventstore.NewNotes(a.conn, realm.AuditStream())
	past, err3 := eventstore.NewHistory(a.conn, realm.AuditStream())
	feed, err4 := eventstore.NewHistory(a.conn, realm.FeedStream())
	lines, err5 := adminapi.NewLines(a.metrics)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	a.admin.lines = lines
	root, ok := a.keys.Root().Public().(ed25519.PublicKey)
	if !ok {
		return errors.New("the realm's root key is of another kind")
	}
	a.admin.operators = operators.New(operators.Config{Realm: realm, Keyer: a.keys.Keyer(), Bootstrap: a.admin.bootstrap, Now: now}, journal)
	a.admin.audit = audit.New(audit.Config{Realm: realm, Keyer: a.keys.Keyer(), Issuer: meant, Home: issuer, Root: root, Now: now}, past, feed)
	a.admin.auditor = adminapi.NewAuditor(realm, meant, notes, a.notary, now)
	return nil
}

func (a *App) adminAPI() http.Handler {
	mux := http.NewServeMux()
	adminapi.API{
		Service: a.service, Revocations: a.service, Lines: a.admin.lines, Users: a.service, Clients: a.clients, ClientStatuses: a.service, Hasher: a.hasher,
		Authenticator: a.admin.operators, Operators: a.admin.operators, History: a.admin.audit, Auditor: a.admin.auditor,
		Keys: a.keeper, KeyOverlap: a.cfg.KeyOverlap, Fleet: a.fleet, Canary: a.canary,
		Issuer: events.Issuer(a.cfg.Issuer), Default: a.meant(), Control: a.cfg.Control(), Log: a.log,
	}.Register(mux)
	a.health(mux)
	return problems(mux)
}

// tlsOf is what secures a listener; nil for one in the clear.
func (a *App) tlsOf(listener string) *tls.Config {
	if listener == admin && a.admin.tls != nil {
		return a.admin.tls.Config()
	}
	return nil
}

// reloadCertificates reads them again without waiting until somebody notices that they
// have changed.
func (a *App) reloadCertificates() {
	if a.admin.tls == nil {
		return
	}
	a.certificatesRead(a.admin.tls.Reload())
}

// certificatesRead says what came of reading them again.
func (a *App) certificatesRead(err error) {
	if err != nil {
		a.log.Error("certificates not reloaded; what was in force stays", zap.Error(err))
		return
	}
	a.log.Info("certificates read again", zap.String("for", admin))
}

// operatorToken reads the first operator's token, after making it if there is
// none. Only its hash is kept.
func operatorToken(path string) (none [sha256.Size]byte, err error) {
	if err := makeToken(path); err != nil {
		return none, fmt.Errorf("making the operator token: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return none, fmt.Errorf("reading the operator token: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 || info.Size() > maxOperatorToken {
		return none, fmt.Errorf("reading the operator token: %s, %s of %d bytes: want a small file that only its owner can read; "+
			"take the others' access away (chmod go=) and consider the token read", path, mode, info.Size())
	}
	content, err := os.ReadFile(path) //nolint:gosec // the file that the operator named
	if err != nil {
		return none, fmt.Errorf("reading the operator token: %w", err)
	}
	text := strings.TrimSpace(string(content))
	if b, err := base64.RawURLEncoding.DecodeString(text); err != nil || len(b) < 16 {
		return none, fmt.Errorf("reading the operator token: %s does not hold 128 bits or more in base64url; remove it to have a new one made", path)
	}
	return sha256.Sum256([]byte(text)), nil
}

const maxOperatorToken = 1024

// makeToken makes the file unless it exists. Issuers that share it may try at once:
// it appears whole, and once.
func makeToken(path string) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-token-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	_, err = f.WriteString(base64.RawURLEncoding.EncodeToString(secret) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // another issuer was first
}
