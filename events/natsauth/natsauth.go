// Package natsauth turns the roles of package topology into NATS credentials: an
// operator, an account a role and a system account, as signed JWTs, and one
// credentials file a role (NATS decentralised authentication, JWT version 2).
//
// Permissions are not in the credentials. Each account trusts one scoped signing
// key, whose template holds them; so an upgrade that changes a role's rights
// changes the account, and credentials given out earlier follow at once.
//
// Accounts see each other only through exports that need an activation token,
// and only this package's accounts get one.
//
// Invariants:
//
//   - Seeds are written with mode 0600, whole or not at all, and appear in no
//     error, log or String.
//   - What is in the directory is never replaced: a damaged or foreign file is an
//     error, not a reason to make new keys.
package natsauth

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/revocast/revocast/events/topology"
)

// Authority holds the keys that everything at one broker is signed with. It is
// immutable and safe for concurrent use; the zero value is not usable.
type Authority struct {
	options  topology.Options
	operator nkeys.KeyPair
	system   nkeys.KeyPair
	accounts map[topology.Account]keys
}

// keys of an account: the one it is named by, and the one its users are signed
// with; nil if it has no users.
type keys struct{ identity, signer nkeys.KeyPair }

// Account is one account as the server needs it.
type Account struct {
	// Name is for humans: as package topology calls it, or "system".
	Name string
	// ID is the public key by which NATS knows the account.
	ID string
	// JWT is signed by the operator. It is no secret.
	JWT string
}

// String tells nothing, so that an Authority printed by mistake is harmless.
func (*Authority) String() string { return "natsauth.Authority" }

// GoString is like String.
func (a *Authority) GoString() string { return a.String() }

// Generate makes an authority that lives in memory alone.
func Generate(o topology.Options) (*Authority, error) {
	return assemble(o, func(_ string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
		return nkeys.CreatePair(kind)
	})
}

// operatorKey is the name of the key that is made last.
const operatorKey = "operator"

// assemble asks pair for every key pair of an authority by its name.
func assemble(o topology.Options, pair func(string, nkeys.PrefixByte) (nkeys.KeyPair, error)) (*Authority, error) {
	a := &Authority{options: o, accounts: make(map[topology.Account]keys)}
	var err error
	if a.system, err = pair("account-system", nkeys.PrefixByteAccount); err != nil {
		return nil, err
	}
	for _, name := range topology.Accounts() {
		var k keys
		if k.identity, err = pair("account-"+string(name), nkeys.PrefixByteAccount); err != nil {
			return nil, err
		}
		a.accounts[name] = k
	}
	for _, r := range topology.Roles() {
		k := a.accounts[r.Account()]
		if k.signer, err = pair("signer-"+r.String(), nkeys.PrefixByteAccount); err != nil {
			return nil, err
		}
		a.accounts[r.Account()] = k
	}
	if a.operator, err = pair(operatorKey, nkeys.PrefixByteOperator); err != nil {
		return nil, err
	}
	return a, nil
}

// Operator returns the operator's JWT, which a server is told to trust. It names
// the system account. It is no secret.
func (a *Authority) Operator() (string, error) {
	id, err := a.operator.PublicKey()
	if err != nil {
		return "", fmt.Errorf("reading operator key: %w", err)
	}
	claims := jwt.NewOperatorClaims(id)
	claims.Name = "revocast"
	if claims.SystemAccount, err = a.system.PublicKey(); err != nil {
		return "", fmt.Errorf("reading system account key: %w", err)
	}
	return encode(claims, a.operator)
}

// Accounts returns every account, signed afresh; the system account is the first.
func (a *Authority) Accounts() ([]Account, error) {
	return a.sign(topology.Accounts(), a.account)
}

// LeafAccounts returns the accounts that a leaf node has, the system account first: those
// of the roles that may connect there, of which each has no opening to others. What goes
// through one is the hub's to pass on; on the leaf node it would end in an account that
// nobody is in.
func (a *Authority) LeafAccounts() ([]Account, error) {
	var names []topology.Account
	for _, r := range topology.Roles() {
		if atLeaves(r) {
			names = append(names, r.Account())
		}
	}
	return a.sign(names, a.walled)
}

// atLeaves reports whether users of the role may connect to leaf nodes, and leaf nodes as
// such a user.
func atLeaves(r topology.Role) bool { return r == topology.Sidecar || r == topology.Subscriber }

// sign gives the system account and those named.
func (a *Authority) sign(names []topology.Account, account func(topology.Account) (Account, error)) ([]Account, error) {
	id, err := a.system.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("reading system account key: %w", err)
	}
	claims := jwt.NewAccountClaims(id)
	claims.Name = "system"
	token, err := encode(claims, a.operator)
	if err != nil {
		return nil, err
	}
	list := []Account{{Name: claims.Name, ID: id, JWT: token}}
	for _, name := range names {
		acc, err := account(name)
		if err != nil {
			return nil, fmt.Errorf("signing account %s: %w", name, err)
		}
		list = append(list, acc)
	}
	return list, nil
}

// account is one with its streams and its openings.
func (a *Authority) account(name topology.Account) (Account, error) {
	claims, err := a.claims(name)
	if err != nil {
		return Account{}, err
	}
	if name.HasJetStream() {
		claims.Limits.JetStreamLimits = jwt.JetStreamLimits{
			MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit,
			Streams: jwt.NoLimit, Consumer: jwt.NoLimit, MaxAckPending: jwt.NoLimit,
		}
	}
	claims.Exports = a.exports(name)
	if claims.Imports, err = a.imports(name, claims.Subject); err != nil {
		return Account{}, err
	}
	return a.signed(claims)
}

// walled is one that nothing leads out of.
func (a *Authority) walled(name topology.Account) (Account, error) {
	claims, err := a.claims(name)
	if err != nil {
		return Account{}, err
	}
	return a.signed(claims)
}

// claims name the account and whoever may sign its users.
func (a *Authority) claims(name topology.Account) (*jwt.AccountClaims, error) {
	id, err := a.accounts[name].identity.PublicKey()
	if err != nil {
		return nil, err
	}
	claims := jwt.NewAccountClaims(id)
	claims.Name = string(name)
	for _, r := range topology.Roles() {
		if r.Account() != name {
			continue
		}
		scope, err := a.scope(r)
		if err != nil {
			return nil, err
		}
		claims.SigningKeys.AddScopedSigner(scope)
	}
	return claims, nil
}

func (a *Authority) signed(claims *jwt.AccountClaims) (Account, error) {
	token, err := encode(claims, a.operator)
	if err != nil {
		return Account{}, err
	}
	return Account{Name: claims.Name, ID: claims.Subject, JWT: token}, nil
}

// scope is the template that every user signed by the role's signer gets.
func (a *Authority) scope(r topology.Role) (*jwt.UserScope, error) {
	signer, err := a.accounts[r.Account()].signer.PublicKey()
	if err != nil {
		return nil, err
	}
	allowed := a.options.Permissions(r)
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = signer, r.String()
	scope.Template.Pub.Allow.Add(allowed.Publish...)
	scope.Template.Sub.Allow.Add(allowed.Subscribe...)
	scope.Template.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard, jwt.ConnectionTypeInProcess)
	if atLeaves(r) {
		// A leaf node connects once for many of them, with the rights of one.
		scope.Template.AllowedConnectionTypes.Add(jwt.ConnectionTypeLeafnode)
	}
	return scope, nil
}

func (a *Authority) exports(name topology.Account) jwt.Exports {
	var list jwt.Exports
	seen := make(map[string]bool)
	for _, s := range a.options.Shares() {
		if s.Owner != name || seen[s.Subject] {
			continue
		}
		seen[s.Subject] = true
		e := &jwt.Export{Name: s.Subject, Subject: jwt.Subject(s.Subject), Type: exportType(s), TokenReq: true}
		if s.Service {
			e.ResponseType = jwt.ResponseTypeSingleton
		}
		if s.Many {
			e.ResponseType = jwt.ResponseTypeStream
		}
		list.Add(e)
	}
	return list
}

func (a *Authority) imports(name topology.Account, id string) (jwt.Imports, error) {
	var list jwt.Imports
	for _, s := range a.options.Shares() {
		if s.To != name {
			continue
		}
		owner := a.accounts[s.Owner].identity
		ownerID, err := owner.PublicKey()
		if err != nil {
			return nil, err
		}
		activation := jwt.NewActivationClaims(id)
		activation.Name = s.Subject
		activation.ImportSubject, activation.ImportType = jwt.Subject(s.Subject), exportType(s)
		token, err := encode(activation, owner)
		if err != nil {
			return nil, err
		}
		list.Add(&jwt.Import{
			Name: s.LocalSubject(), Account: ownerID, Token: token, Type: exportType(s),
			Subject: jwt.Subject(s.Subject), LocalSubject: jwt.RenamingSubject(s.Local),
		})
	}
	return list, nil
}

func exportType(s topology.Share) jwt.ExportType {
	if s.Service {
		return jwt.Service
	}
	return jwt.Stream
}

// Credentials makes a new user of the role and returns its credentials file: a
// secret. Users do not expire; a stolen file is answered by making a new
// authority.
func (a *Authority) Credentials(r topology.Role) ([]byte, error) {
	k, ok := a.accounts[r.Account()]
	if !ok {
		return nil, fmt.Errorf("making credentials: role %s has no account", r)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("making a user key of role %s: %w", r, err)
	}
	defer user.Wipe()
	id, err := user.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("making a user key of role %s: %w", r, err)
	}
	claims := jwt.NewUserClaims(id)
	claims.Name = r.String()
	claims.UserPermissionLimits = jwt.UserPermissionLimits{} // the scope's, see the package comment
	if claims.IssuerAccount, err = k.identity.PublicKey(); err != nil {
		return nil, fmt.Errorf("reading account key of role %s: %w", r, err)
	}
	token, err := encode(claims, k.signer)
	if err != nil {
		return nil, err
	}
	seed, err := user.Seed()
	if err != nil {
		return nil, fmt.Errorf("making a user key of role %s: %w", r, err)
	}
	defer clear(seed)
	return jwt.FormatUserConfig(token, seed)
}

// owns reports whether a credentials file was made for the role by this
// authority, and still works.
func (a *Authority) owns(r topology.Role, file []byte) (bool, error) {
	token, err := jwt.ParseDecoratedJWT(file)
	if err != nil {
		return false, errors.New("holds no user JWT")
	}
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return false, errors.New("holds no user JWT")
	}
	pair, err := jwt.ParseDecoratedUserNKey(file)
	if err != nil {
		return false, errors.New("holds no user key")
	}
	defer pair.Wipe()
	id, err := pair.PublicKey()
	if err != nil {
		return false, errors.New("holds no user key")
	}
	accountID, err := a.accounts[r.Account()].identity.PublicKey()
	if err != nil {
		return false, err
	}
	signer, err := a.accounts[r.Account()].signer.PublicKey()
	if err != nil {
		return false, err
	}
	return claims.Subject == id && claims.IssuerAccount == accountID && claims.Issuer == signer, nil
}

// encode signs claims after checking them as the server will.
func encode(claims jwt.Claims, with nkeys.KeyPair) (string, error) {
	var found jwt.ValidationResults
	claims.Validate(&found)
	if found.IsBlocking(true) {
		return "", fmt.Errorf("signing JWT of %s: %w", claims.Claims().Name, errors.Join(found.Errors()...))
	}
	token, err := claims.Encode(with)
	if err != nil {
		return "", fmt.Errorf("signing JWT of %s: %w", claims.Claims().Name, err)
	}
	return token, nil
}

// parseSeed reads a file that holds nothing but the seed of a key of a kind.
func parseSeed(file []byte, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	seed := bytes.TrimSpace(file)
	prefix, _, err := nkeys.DecodeSeed(seed)
	if err != nil || prefix != kind {
		return nil, errors.New("not a seed of the kind expected")
	}
	return nkeys.FromSeed(seed)
}

// Configuration is what a nats-server is told to trust the authority: the operator, its
// accounts, and nobody else, as lines of a server's configuration file. It holds no
// secret, and every server of a cluster has the same.
func (a *Authority) Configuration() (string, error) { return a.configuration(a.Accounts()) }

// LeafConfiguration is the same for a leaf node.
func (a *Authority) LeafConfiguration() (string, error) { return a.configuration(a.LeafAccounts()) }

func (a *Authority) configuration(accounts []Account, err error) (string, error) {
	if err != nil {
		return "", err
	}
	operator, err := a.Operator()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "operator: %q\nsystem_account: %q\nresolver: MEMORY\nresolver_preload: {\n", operator, accounts[0].ID)
	for _, account := range accounts {
		fmt.Fprintf(&b, "  # %s\n  %s: %q\n", account.Name, account.ID, account.JWT)
	}
	b.WriteString("}\n# Leaf nodes pass on what these ask JetStream, which servers deny them otherwise.\ndefault_js_domain: {\n")
	for _, account := range accounts {
		if r, err := topology.ParseRole(account.Name); err == nil && atLeaves(r) {
			fmt.Fprintf(&b, "  %s: \"\"\n", account.ID)
		}
	}
	b.WriteString("}\n")
	return b.String(), nil
}
