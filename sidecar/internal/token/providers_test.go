package token_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/sidecar/internal/token"
	"github.com/revocast/revocast/sidecar/internal/token/tokentest"
)

// provider is an identity provider with the tokens it gives: names and shapes of the
// claims are theirs, the values are made up. `iss`, `iat` and `exp` are added.
type provider struct {
	rule   string
	header object // but for alg and kid
	access object
	// others are tokens of the same issuer, header and audience that are no access
	// tokens.
	others map[string]object
	// want is what the access token reads as.
	want token.Claims
}

func providers() map[string]provider {
	const client, user, session = "7d5a41ee-8a3a-4b0e-9a57-30b2fd5c8d10", "f0b8a7c2-5d5e-4f7b-bb3c-4d3d1f6b2a11", "2f9a1c34-77d0-4c35-8a3c-a3a0f2a0b9d5"
	seconds := now.Add(-time.Minute).Unix()
	keycloak := object{
		"jti": "onrtac:5a1c8a0e-2a0b-4a55-9f6e-8ad1a8d2a7be", "auth_time": seconds, "aud": []string{"orders", "account"}, "sub": user, "typ": "Bearer",
		"azp": "shop", "sid": session, "acr": "1", "allowed-origins": []string{"https://shop.example"},
		"realm_access":    object{"roles": []string{"buyer", "offline_access"}},
		"resource_access": object{"orders": object{"roles": []string{"clerk"}}, "account": object{"roles": []string{"view-profile"}}},
		"scope":           "openid email profile", "email_verified": true, "preferred_username": "alice", "given_name": "Alice",
	}
	entra := object{
		"aud": "api-id", "nbf": now.Unix(), "aio": "ATQAy/8TAAAA", "azp": client, "azpacr": "0", "name": "Alice", "oid": user,
		"preferred_username": "alice@acme.example", "rh": "0.AXoA.", "roles": []string{"Orders.Approve"}, "scp": "orders.read orders.write", "sid": session,
		"sub": "Wq6x2pairwise", "tid": "0b6a1d59-6b7c-4b59-8d6e-1d2f8c1f9a3b", "uti": "kF3jQm0Xy0Kb", "ver": "2.0",
	}
	auth0 := object{
		"sub": "auth0|65f0c1", "aud": []string{"https://api.acme.example", "https://acme.eu.auth0.com/userinfo"}, "azp": client, "scope": "openid read:orders",
		"permissions": []string{"read:orders"}, "gty": "password", "https://acme.example/roles": []string{"buyer"},
	}
	okta := object{
		"ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE", "aud": "api://default", "cid": client, "uid": "00u1abcd2", "scp": []string{"openid", "orders:read"},
		"auth_time": seconds, "sub": "alice@acme.example", "groups": []string{"Everyone", "buyers"},
	}
	cognito := object{
		"sub": user, "cognito:groups": []string{"buyers"}, "client_id": client, "origin_jti": session, "event_id": "b2e6c3e1-0a3e-4e3d-8f2b-5a8f6d5a9c11",
		"token_use": "access", "scope": "orders/read openid", "auth_time": seconds, "jti": "4f6c8e0a-2b4d-4f6c-8e0a-2b4d6f8a0c2e", "username": "alice", "version": 2,
	}
	jwt := object{"typ": "JWT"}
	return map[string]provider{
		"Keycloak": {
			rule: "audience=orders,typ=JWT,max-lifetime=10m,roles=realm_access.roles", header: jwt, access: keycloak,
			others: map[string]object{
				"ID token":              tokentest.With(keycloak, object{"typ": "ID", "at_hash": "qmVq3m0vnQ", "nonce": "n", "realm_access": nil, "scope": nil}),
				"ID token, nothing but": tokentest.With(keycloak, object{"typ": "ID"}),
				"refresh token":         tokentest.With(keycloak, object{"typ": "Refresh"}),
				"offline token":         tokentest.With(keycloak, object{"typ": "Offline"}),
				"logout token":          tokentest.With(keycloak, object{"typ": "Logout"}),
				"logout token, as told": tokentest.With(keycloak, object{"typ": nil, "events": object{"http://schemas.openid.net/event/backchannel-logout": object{}}}),
			},
			want: token.Claims{
				Subject: user, Client: "shop", Session: session, ID: "onrtac:5a1c8a0e-2a0b-4a55-9f6e-8ad1a8d2a7be", Audience: token.NewTexts("orders", "account"),
				Scope: "openid email profile", Roles: token.NewTexts("buyer", "offline_access"), AuthTime: time.Unix(seconds, 0).UTC(), ACR: "1",
			},
		},
		"Keycloak, a client's roles, and a nonce as of old": {
			rule: "audience=orders,typ=JWT,roles=resource_access.orders.roles", header: jwt, access: tokentest.With(keycloak, object{"nonce": "n"}),
			others: map[string]object{
				"nonce and no kind": tokentest.With(keycloak, object{"nonce": "n", "typ": nil}),
				"bound by hash":     tokentest.With(keycloak, object{"nonce": "n", "c_hash": "x"}),
			},
			want: token.Claims{
				Subject: user, Client: "shop", Session: session, ID: "onrtac:5a1c8a0e-2a0b-4a55-9f6e-8ad1a8d2a7be", Audience: token.NewTexts("orders", "account"),
				Scope: "openid email profile", Roles: token.NewTexts("clerk"), AuthTime: time.Unix(seconds, 0).UTC(), ACR: "1",
			},
		},
		"Entra ID": {
			rule: "audience=api-id,typ=JWT,max-lifetime=2h,subject=oid,client=azp,session=sid,id=uti,scope=scp,require=azp:*", header: jwt, access: entra,
			others: map[string]object{
				"ID token": tokentest.With(entra, object{"azp": nil, "azpacr": nil, "scp": nil, "nonce": "n"}),
				// Where client and API are one registration, what the rule demands is all there is.
				"ID token after a refresh": tokentest.With(entra, object{"azp": nil, "azpacr": nil, "scp": nil}),
			},
			want: token.Claims{
				Subject: user, Client: client, Session: session, ID: "kF3jQm0Xy0Kb", Audience: token.NewTexts("api-id"), Scope: "orders.read orders.write",
				Roles: token.NewTexts("Orders.Approve"), NotBefore: now,
			},
		},
		"Auth0": {
			rule: "audience=https://api.acme.example,typ=JWT,roles=https://acme.example/roles", header: jwt, access: auth0,
			others: map[string]object{
				"ID token":                     tokentest.With(auth0, object{"aud": client, "nonce": "n", "sid": session, "permissions": nil, "gty": nil}),
				"ID token of a careless setup": tokentest.With(auth0, object{"at_hash": "x"}),
			},
			want: token.Claims{
				Subject: "auth0|65f0c1", Client: client, Audience: token.NewTexts("https://api.acme.example", "https://acme.eu.auth0.com/userinfo"),
				Scope: "openid read:orders", Roles: token.NewTexts("buyer"),
			},
		},
		"Okta": {
			rule: "audience=api://default,typ=none,require=cid:*,subject=uid,client=cid,scope=scp,roles=groups", access: okta,
			others: map[string]object{
				"ID token":                   tokentest.With(okta, object{"jti": "ID.ewMN", "aud": client, "cid": nil, "uid": nil, "scp": nil, "amr": []string{"pwd"}, "idp": "00o1", "nonce": "n", "at_hash": "x"}),
				"ID token with our audience": tokentest.With(okta, object{"jti": "ID.ewMN", "cid": nil, "scp": nil}),
			},
			want: token.Claims{
				Subject: "00u1abcd2", Client: client, ID: "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE", Audience: token.NewTexts("api://default"),
				Scope: "openid orders:read", Roles: token.NewTexts("Everyone", "buyers"), AuthTime: time.Unix(seconds, 0).UTC(),
			},
		},
		"Cognito": {
			rule: "typ=none,require=token_use:access,require=client_id:" + client + ",session=origin_jti,roles=cognito:groups", access: cognito,
			others: map[string]object{
				"ID token":                   tokentest.With(cognito, object{"token_use": "id", "aud": client, "client_id": nil, "cognito:username": "alice", "at_hash": "x"}),
				"ID token, but for the word": tokentest.With(cognito, object{"token_use": "id"}),
				"of another client":          tokentest.With(cognito, object{"client_id": "other"}),
			},
			want: token.Claims{
				Subject: user, Client: client, Session: session, ID: "4f6c8e0a-2b4d-4f6c-8e0a-2b4d6f8a0c2e", Scope: "orders/read openid",
				Roles: token.NewTexts("buyers"), AuthTime: time.Unix(seconds, 0).UTC(),
			},
		},
	}
}

// The access tokens of well-known providers pass by one rule each, read as what they
// mean, and the other tokens of the same issuer do not.
func TestProviders(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	keys := i.Keys(t)
	sign := func(p provider, payload object) string {
		header := tokentest.With(i.RS256.Header(), object{"typ": p.header["typ"]})
		return i.RS256.Sign(t, header, tokentest.With(payload, object{"iss": i.ID(), "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}))
	}
	for name, p := range providers() {
		t.Run(name, func(t *testing.T) {
			trust, err := token.ParseTrust("issuer=" + string(i.ID()) + "," + p.rule)
			if err != nil {
				t.Fatal(err)
			}
			v := newVerifier(t, config(), token.Issuer{Trust: trust, Keys: keys})
			got, err := v.Verify(t.Context(), sign(p, p.access), now)
			if err != nil {
				t.Fatal(err)
			}
			p.want.Issuer, p.want.Key, p.want.IssuedAt, p.want.Expires = i.ID(), "RS256", now, now.Add(5*time.Minute)
			if !reflect.DeepEqual(got.Claims, p.want) {
				t.Errorf("claims:\n got %+v\nwant %+v", got.Claims, p.want)
			}
			if d := got.Denylist; d.Subject != p.want.Subject || d.Client != p.want.Client || d.Session != p.want.Session || d.ID != p.want.ID {
				t.Errorf("denylist token: %+v", d)
			}
			for what, payload := range p.others {
				if got, err := v.Verify(t.Context(), sign(p, payload), now); !errors.Is(err, token.ErrUntrusted) {
					t.Errorf("%s: %+v, %v", what, got, err)
				}
				if d := v.Diagnose(t.Context(), sign(p, payload), now); d.Taken || d.Token == nil || faults(d) == "" {
					t.Errorf("%s, diagnosed: %+v", what, d)
				}
			}
		})
	}
}

// The marks of other kinds count only where typ leaves it open.
func TestTypeSettlesTheKind(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	v := newVerifier(t, config(), token.Issuer{Trust: i.Trust(), Keys: i.Keys(t)})
	if _, err := v.Verify(t.Context(), i.Good(t, now, object{"nonce": "n", "typ": "ID"}), now); err != nil {
		t.Error(err)
	}
	if _, err := v.Verify(t.Context(), i.Good(t, now, object{"events": object{}}), now); !errors.Is(err, token.ErrUntrusted) {
		t.Errorf("events: %v", err)
	}
}

// Claims under other names are held to what those of the usual names are.
func TestNames(t *testing.T) {
	i := tokentest.NewIssuer(t, "")
	keys := i.Keys(t)
	base := object{
		"iss": i.ID(), "aud": tokentest.Audience, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"sub": "s", "sid": "d", "jti": "j", "client_id": "c", "azp": "a", "oid": "o", "uti": "u", "scp": "x y", "deep": object{"er": object{"roles": []string{"r"}}},
	}
	all := "subject=oid,client=azp,session=deep.sid,id=uti,scope=scp,roles=deep.er.roles"
	for name, c := range map[string]struct {
		names   string
		changes object
		want    error
		subject events.Subject
		scope   string
		roles   int
	}{
		"all":                          {all, nil, nil, "o", "x y", 1},
		"none":                         {"", object{"scope": "b"}, nil, "s", "b", 0},
		"no fallback to sub":           {"subject=oid", object{"oid": nil}, nil, "", "", 0},
		"missing inside":               {"roles=deep.other.roles", nil, nil, "s", "", 0},
		"missing outside":              {"roles=shallow.roles", nil, nil, "s", "", 0},
		"not a text":                   {"subject=oid", object{"oid": 7}, token.ErrMalformed, "", "", 0},
		"with a line break":            {"subject=oid", object{"oid": "o\nX-Auth-Subject: root"}, token.ErrMalformed, "", "", 0},
		"inside a text":                {"roles=deep.roles", object{"deep": "admin"}, token.ErrMalformed, "", "", 0},
		"inside an array":              {"roles=deep.roles", object{"deep": []string{"roles"}}, token.ErrMalformed, "", "", 0},
		"inside null":                  {"roles=deep.roles", object{"deep": (*int)(nil)}, token.ErrMalformed, "", "", 0},
		"roles with a line break":      {"roles=deep.roles", object{"deep": object{"roles": []string{"a", "b\n"}}}, token.ErrMalformed, "", "", 0},
		"scope, an array":              {"scope=scp", object{"scp": []string{"x", "y:z"}}, nil, "s", "x y:z", 0},
		"scope, an empty array":        {"scope=scp", object{"scp": []string{}}, nil, "s", "", 0},
		"scope, empty":                 {"scope=scp", object{"scp": ""}, nil, "s", "", 0},
		"scope, one that reads as two": {"scope=scp", object{"scp": []string{"x y"}}, token.ErrMalformed, "", "", 0},
		"scope, an empty name":         {"scope=scp", object{"scp": []string{"x", ""}}, token.ErrMalformed, "", "", 0},
		"scope, two spaces":            {"scope=scp", object{"scp": "x  y"}, token.ErrMalformed, "", "", 0},
		"scope with a quote":           {"scope=scp", object{"scp": `x "y`}, token.ErrMalformed, "", "", 0},
		"scope not ASCII":              {"scope=scp", object{"scp": []string{"größe"}}, token.ErrMalformed, "", "", 0},
		"scope, a number in it":        {"scope=scp", object{"scp": []any{"x", 1}}, token.ErrMalformed, "", "", 0},
		"scope, an object":             {"scope=scp", object{"scp": object{"x": true}}, token.ErrMalformed, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			rule := "issuer=" + string(i.ID()) + ",typ=JWT,audience=" + tokentest.Audience
			if c.names != "" {
				rule += "," + c.names
			}
			trust, err := token.ParseTrust(rule)
			if err != nil {
				t.Fatal(err)
			}
			v := newVerifier(t, config(), token.Issuer{Trust: trust, Keys: keys})
			got, err := v.Verify(t.Context(), i.ES256.Sign(t, tokentest.With(i.ES256.Header(), object{"typ": "JWT"}), tokentest.With(base, c.changes)), now)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && (got.Claims.Subject != c.subject || got.Claims.Scope != c.scope || got.Claims.Roles.Len() != c.roles) {
				t.Errorf("%+v", got.Claims)
			}
		})
	}
}
