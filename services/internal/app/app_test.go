package app_test

import (
	"errors"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/subject"
	"github.com/revocast/revocast/events/topology"
)

// pair is two issuers on one broker: the first carries it, the other is a replica.
type pair struct {
	a, b *issuer
	js   jetstream.JetStream
}

// The subtests share the two issuers and follow each other.
func TestTwoIssuers(t *testing.T) {
	t.Parallel()
	a := start(t, configure(t, t.TempDir()))
	p := pair{a: a, b: start(t, replica(t, a.Config))}
	conn, err := nats.Connect("nats://"+a.NATSListen, nats.UserCredentials(filepath.Join(a.CredsDir, "issuer.creds")),
		nats.CustomInboxPrefix(topology.Issuer.InboxPrefix()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if p.js, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		// These count what requests cost the journal, so they come before anything
		// ends: the finisher would write as well.
		{"wrong credentials look alike", p.wrongCredentialsLookAlike},
		{"bad tokens are refused", p.badTokensAreRefused},
		{"bad bodies are refused", p.badBodiesAreRefused},
		{"bad forms are refused", p.badFormsAreRefused},
		{"bad refresh tokens are refused", p.badRefreshTokensAreRefused},
		{"strangers are no operators", p.strangersAreNoOperators},
		{"bad revocations are refused", p.badRevocationsAreRefused},

		{"descriptions are true", p.descriptionsAreTrue},
		{"login answers", p.loginAnswers},
		{"bad logins are refused", p.badLoginsAreRefused},
		{"wrong credentials take the same time", p.wrongCredentialsTakeTheSameTime},
		{"wrong methods are refused", p.wrongMethodsAreRefused},
		{"odd paths do nothing", p.oddPathsDoNothing},
		{"bad HTTP is refused", p.badHTTPIsRefused},
		{"refreshes rotate", p.refreshesRotate},
		{"device secrets are asked for", p.deviceSecretsAreAskedFor},
		{"tokens are revoked", p.tokensAreRevoked},
		{"revoking again announces nothing", p.revokingAgainAnnouncesNothing},
		{"sessions are listed and ended", p.sessionsAreListedAndEnded},
		{"passwords are changed", p.passwordsAreChanged},
		{"operators make users", p.operatorsMakeUsers},
		{"bad user changes are refused", p.badUserChangesAreRefused},
		{"operators change users", p.operatorsChangeUsers},
		{"operators disable clients", p.operatorsDisableClients},
		{"crowds are ended", p.crowdsAreEnded},
		{"password changes meet", p.passwordChangesMeet},
		{"other devices step up", p.otherDevicesStepUp},
		{"devices are limited", p.devicesAreLimited},
		{"grades are in tokens", p.gradesAreInTokens},
		{"mute clients get no refresh token", p.muteClientsGetNoRefreshToken},

		// These end everybody's sessions.
		{"revoked tokens are refused", p.revokedTokensAreRefused},
		{"revoked keys are refused", p.revokedKeysAreRefused},
		{"six kinds can be revoked", p.sixKindsCanBeRevoked},
		{"nothing leaks into metrics or logs", p.nothingLeaksIntoMetricsOrLogs},
	} {
		t.Run(test.name, test.run)
	}
}

const realm = subject.Realm("test")

// last is the last sequence of a stream.
func (p pair) last(t *testing.T, stream string) uint64 {
	t.Helper()
	s, err := p.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

func (p pair) journal(t *testing.T) uint64 {
	t.Helper()
	return p.last(t, realm.JournalStream())
}

// grown is how many messages requests have put into the journal since: all but what
// issuers write of their own accord, the lease of lifetimes and the compaction of
// sessions that had ended before.
func (p pair) grown(t *testing.T, since uint64) uint64 {
	t.Helper()
	last := p.journal(t)
	stream, err := p.js.Stream(t.Context(), realm.JournalStream())
	if err != nil {
		t.Fatal(err)
	}
	n := last - since
	for at := since + 1; at <= last; at++ {
		m, err := stream.GetMsg(t.Context(), at)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // it has been followed by another, and counts
		}
		if err != nil {
			t.Fatal(err)
		}
		of, _ := strconv.ParseUint(m.Header.Get(jetstream.ExpectedLastSubjSeqHeader), 10, 64)
		if m.Subject == realm.Lifetimes() || m.Header.Get(jetstream.MsgRollup) != "" && of <= since {
			n--
		}
	}
	return n
}

// announced is how many revocations the feed holds.
func (p pair) announced(t *testing.T) uint64 {
	t.Helper()
	s, err := p.js.Stream(t.Context(), realm.FeedStream())
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(realm.Feed()))
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	for place, count := range info.State.Subjects {
		if place != realm.FeedHeartbeat() {
			n += count
		}
	}
	return n
}
