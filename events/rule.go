package events

// Facts are what a revocation is held against: what a verified token says about
// itself.
type Facts struct {
	Issuer  Issuer
	Token   TokenID
	Session SessionID
	Subject Subject
	Client  ClientID
	Key     KeyID
	// SessionAt is `ssq` and MintedAt `tsq`; zero where the token does not say.
	SessionAt, MintedAt Position
	// AuthTime and IssuedAt are in Unix seconds, zero where the token does not say.
	AuthTime, IssuedAt int64
	// Foreign: another realm's issuer made it. Its positions, if it has any, are in
	// another journal and count for nothing.
	Foreign bool
}

// Denies reports whether r denies a token of these facts, for as long as r lives. It
// is the one rule that issuers, sidecars and the audit judge by (ADR-0005).
//
// A narrow revocation denies the one thing it names. A wide one spares what came after
// its cut: by position where the token has one, else by time, in whole seconds and
// inclusively: the session's, which is `auth_time`, or the token's own, `iat`, where
// access tokens are cut or the other is missing. What cannot be placed is denied. An
// expiry is nothing to this rule.
func (r *Revocation) Denies(f *Facts) bool {
	return r.names(f) && (!r.Kind.Wide() || !r.spares(f))
}

// names reports whether r speaks of f at all. What a token does not say nothing names.
func (r *Revocation) names(f *Facts) bool {
	if r.Issuer != f.Issuer || f.Issuer == "" {
		return false
	}
	has := ""
	switch r.Kind {
	case KindToken:
		has = string(f.Token)
	case KindSession:
		has = string(f.Session)
	case KindSubject:
		has = string(f.Subject)
	case KindClient:
		has = string(f.Client)
	case KindKey:
		has = string(f.Key)
	case KindAll:
		return true
	case KindUnknown:
		return false
	}
	return has != "" && r.Target == has
}

// spares reports whether f came after the cut of r, or belongs to the session that r
// excepts.
func (r *Revocation) spares(f *Facts) bool {
	if r.Kind == KindSubject && r.Except != "" && r.Except == f.Session {
		return true
	}
	if f.Foreign || f.SessionAt.IsZero() && f.MintedAt.IsZero() {
		return r.sparesByTime(f)
	}
	at := f.SessionAt
	if r.Scope == ScopeAccessTokens || f.Session == "" {
		at = f.MintedAt
	}
	return !r.Cut.IsZero() && !at.IsZero() && at.Shard == r.Cut.Shard && at.Sequence > r.Cut.Sequence
}

func (r *Revocation) sparesByTime(f *Facts) bool {
	at := f.AuthTime
	if f.IssuedAt != 0 && (at == 0 || r.Scope == ScopeAccessTokens) {
		at = f.IssuedAt
	}
	return !r.CutTime.IsZero() && at != 0 && at > r.CutTime.Unix()
}
