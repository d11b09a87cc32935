// Package bootstrap reads the users that an issuer registers when it starts, from
// one YAML file (--users). Users live in the journal; the file only brings the
// first of them there.
//
//	users:
//	  - username: alice
//	    password: wonderland-42      # or password_hash: $argon2id$…, not both
//	    roles: [admin]
//
// A password in the file is for development. It is a [Password], which never
// prints, and whoever registers the user hashes it.
//
// Invariants:
//
//   - No report of a fault repeats a password or a hash.
package bootstrap

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/revocast/revocast/services/internal/password"
	"github.com/revocast/revocast/services/internal/strictyaml"
)

// Bounds on what the file may say.
const (
	maxUsers    = 10_000
	maxUsername = 128
	maxRole     = 64
	maxRoles    = 64
)

// Password is a password from the file. Convert it to a string to hash it; printed
// or encoded it shows a placeholder.
type Password string

const redacted = "[password]"

// Format prints a placeholder whatever the verb.
func (Password) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// String gives the same placeholder.
func (Password) String() string { return redacted }

// MarshalText keeps the password out of JSON and of loggers that reflect.
func (Password) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// User is one user of the file. Exactly one of Password and PasswordHash is set.
type User struct {
	// Username is compared byte by byte.
	Username string   `yaml:"username"`
	Password Password `yaml:"password"`
	// PasswordHash is in the form that package password writes.
	PasswordHash string   `yaml:"password_hash"`
	Roles        []string `yaml:"roles"`
}

// Load reads the file. Every fault is reported at once, by user.
func Load(name string) ([]User, error) {
	var f struct {
		Users []User `yaml:"users"`
	}
	if err := strictyaml.Read(name, &f); err != nil {
		return nil, err
	}
	if len(f.Users) > maxUsers {
		return nil, fmt.Errorf("reading %s: %d users, at most %d", name, len(f.Users), maxUsers)
	}
	seen := make(map[string]bool, len(f.Users))
	var errs []error
	for i, u := range f.Users {
		err := u.check()
		if seen[u.Username] {
			err = errors.Join(err, errors.New("username: given to an earlier user"))
		}
		seen[u.Username] = true
		if err != nil {
			errs = append(errs, fmt.Errorf("user %d: %w", i+1, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return f.Users, nil
}

func (u User) check() error {
	var errs []error
	if !plain(u.Username, maxUsername) {
		errs = append(errs, fmt.Errorf("username: want 1 to %d bytes of UTF-8 without control characters or space at either end", maxUsername))
	}
	switch {
	case (u.Password == "") == (u.PasswordHash == ""):
		errs = append(errs, errors.New("password, password_hash: want one of them"))
	case len(u.Password) > password.MaxLength:
		errs = append(errs, password.ErrLength)
	case u.PasswordHash != "" && password.Check(u.PasswordHash) != nil:
		errs = append(errs, fmt.Errorf("password_hash: %w", password.ErrHash))
	}
	if len(u.Roles) > maxRoles {
		errs = append(errs, fmt.Errorf("roles: %d of them, at most %d", len(u.Roles), maxRoles))
	}
	for i, role := range u.Roles {
		if !plain(role, maxRole) || strings.Contains(role, ",") {
			errs = append(errs, fmt.Errorf("roles: want 1 to %d bytes of UTF-8 without comma, control characters or space at either end", maxRole))
		}
		if slices.Contains(u.Roles[:i], role) {
			errs = append(errs, errors.New("roles: one is given twice"))
		}
	}
	return errors.Join(errs...)
}

// plain is text that looks like what it is. A role must not hold a comma besides,
// since sidecars write roles into one header.
func plain(s string, atMost int) bool {
	return s != "" && len(s) <= atMost && utf8.ValidString(s) && s == strings.TrimSpace(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
}
