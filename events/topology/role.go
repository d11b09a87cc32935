package topology

import "fmt"

// Role is one kind of party at the broker. The zero Role is none and may nothing.
type Role uint8

// The roles. Each has an account of its own, named like it.
const (
	NoRole Role = iota
	// Issuer owns the streams.
	Issuer
	// Sidecar reads the feed and its snapshot, and reports what it has applied.
	Sidecar
	// Subscriber is a service that acts on events.
	Subscriber
	// Operator revokes by hand, also while every issuer is down.
	Operator
)

// Roles lists every role.
func Roles() []Role { return []Role{Issuer, Sidecar, Subscriber, Operator} }

// String gives the name used in file names and accounts.
func (r Role) String() string {
	switch r {
	case Issuer:
		return "issuer"
	case Sidecar:
		return "sidecar"
	case Subscriber:
		return "subscriber"
	case Operator:
		return "operator"
	case NoRole:
	}
	return "none"
}

// ParseRole is the inverse of [Role.String]; "none" is not accepted.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if r.String() == s {
			return r, nil
		}
	}
	return NoRole, fmt.Errorf("%q is not a role; one of issuer, sidecar, subscriber, operator", s)
}

// InboxPrefix is where the role's clients get their answers; any other inbox is
// refused. Clients must be told (nats.CustomInboxPrefix).
func (r Role) InboxPrefix() string { return "_INBOX_" + r.String() }

// Permissions are the subjects a role's users may use inside their account.
// What is not listed is refused.
type Permissions struct {
	Publish   []string
	Subscribe []string
}

// Account is a NATS account: the wall between those who share no subject. There
// is one for each role, named like it, and one that nobody can log in to.
type Account string

// Vault is the account that holds EVENTS. Its subscribers are outside: whoever
// asks JetStream from inside an account can have the answer sent to any subject
// of it, and an empty answer sent to STREAM.DELETE deletes the stream.
const Vault Account = "vault"

// Account is the account of the role's users.
func (r Role) Account() Account { return Account(r.String()) }

// Accounts lists every account.
func Accounts() []Account {
	list := []Account{Vault}
	for _, r := range Roles() {
		list = append(list, r.Account())
	}
	return list
}

// HasJetStream reports whether the account may hold streams.
func (a Account) HasJetStream() bool { return a == Issuer.Account() || a == Vault }

// Share opens one subject of one account to another: requests travel to its
// owner (a service) or messages from it (a stream of messages).
type Share struct {
	Owner, To Account
	// Subject is the owner's. Local is what the other side calls it; the same if
	// empty.
	Subject, Local string
	Service        bool
	// Many says that one request may be answered by more than one message.
	Many bool
}

// LocalSubject is the subject by which the other side knows it.
func (s Share) LocalSubject() string {
	if s.Local != "" {
		return s.Local
	}
	return s.Subject
}

// Shares are all openings between the accounts of a realm. Answers to a request
// that comes through one go back the way it came, whatever reply subject it names.
func (o Options) Shares() []Share {
	issuer, sidecar, subscriber, operator := Issuer.Account(), Sidecar.Account(), Subscriber.Account(), Operator.Account()
	service := func(owner, to Account, subject string) Share {
		return Share{Owner: owner, To: to, Subject: subject, Service: true}
	}
	directGet := func(to Account, stream string) Share {
		return Share{Owner: issuer, To: to, Subject: "$JS.API.DIRECT.GET." + stream, Service: true, Many: true}
	}
	feed, kept := o.Realm.FeedStream(), o.Realm.EventsStream()

	list := []Share{
		directGet(sidecar, feed),
		directGet(sidecar, o.Realm.SnapshotStream()),
		{Owner: issuer, To: sidecar, Subject: o.Realm.Live()},
		service(issuer, sidecar, o.Realm.Reports()),
		{Owner: issuer, To: sidecar, Subject: o.Realm.FleetAsk()},

		directGet(operator, feed),
		directGet(operator, o.Realm.AuditStream()),
		{Owner: issuer, To: operator, Subject: o.Realm.Live()},

		// What EVENTS needs to source FEED. The consumer exists already; from the
		// vault it can be rewound and answered, but not made: who makes a consumer
		// chooses where in the issuers' account it delivers. The wildcards matter:
		// a subscriber's push consumer delivers only to a subject that somebody
		// listens to by exactly that name.
		{
			Owner: issuer, To: Vault, Service: true,
			Subject: "$JS.API.CONSUMER.RESET." + feed + ".*",
			Local:   o.FeedAPI() + ".CONSUMER.RESET." + feed + ".*",
		},
		service(issuer, Vault, "$JS.FC."+feed+".*.>"),
		{Owner: issuer, To: Vault, Subject: o.sourcing("events", "feed") + "*"},
	}
	// An operator denies. Lifting and keys are not here: they would allow.
	for _, s := range o.entrySubjects() {
		list = append(list, service(issuer, operator, s))
	}
	for _, s := range consumerAPI(kept) {
		list = append(list, service(Vault, subscriber, s))
	}
	list = append(list,
		Share{Owner: Vault, To: subscriber, Subject: pullAPI(kept), Service: true, Many: true},
		// An account without JetStream answers every API request with "not enabled",
		// besides the vault's answer, unless it imports this one.
		service(Vault, subscriber, "$JS.API.INFO"),
	)
	// With this an issuer keeps EVENTS as it should be, by its own credentials.
	for _, verb := range []string{"CREATE", "UPDATE", "INFO"} {
		list = append(list, Share{
			Owner: Vault, To: issuer, Service: true,
			Subject: "$JS.API.STREAM." + verb + "." + kept,
			Local:   o.EventsAPI() + ".STREAM." + verb + "." + kept,
		})
	}
	return list
}

// Permissions are what the users of a role may do inside their account.
func (o Options) Permissions(r Role) Permissions {
	p := Permissions{Subscribe: []string{r.InboxPrefix() + ".>"}}
	switch r {
	case Issuer:
		p.Publish = append(p.Publish, o.Realm.Journal(), o.Realm.PulseSchedule(), o.Realm.FeedHeartbeat(), o.Realm.Notes(), o.Realm.FleetAsk(), o.Realm.Snapshots(), "$JS.API.INFO")
		p.Publish = append(p.Publish, o.feedSubjects()...)
		for _, name := range []string{
			o.Realm.JournalStream(), o.Realm.PulseStream(), o.Realm.FeedStream(), o.Realm.AuditStream(), o.Realm.SnapshotStream(),
		} {
			p.Publish = append(p.Publish, issuerAPI(name)...)
		}
		p.Subscribe = append(p.Subscribe, o.Realm.Reports(), o.Realm.Live())
	case Sidecar, Subscriber, Operator:
		// No more than is shared with their account.
	case NoRole:
		return Permissions{}
	}
	for _, s := range o.Shares() {
		switch {
		case s.To != r.Account():
		case s.Service:
			p.Publish = append(p.Publish, s.LocalSubject())
		default:
			p.Subscribe = append(p.Subscribe, s.LocalSubject())
		}
	}
	return p
}

// issuerAPI is what an issuer may ask of a stream of its own. Nobody may delete
// or purge one, restore one over it, or remove single messages.
func issuerAPI(stream string) []string {
	return append(consumerAPI(stream),
		pullAPI(stream),
		"$JS.API.STREAM.CREATE."+stream,
		"$JS.API.STREAM.UPDATE."+stream,
		"$JS.API.STREAM.INFO."+stream,
		"$JS.API.STREAM.MSG.GET."+stream,
		"$JS.API.DIRECT.GET."+stream,
		"$JS.API.DIRECT.GET."+stream+".>",
	)
}

// consumerAPI is what using consumers takes, besides pulling. Not reading the
// stream's configuration: that of EVENTS holds a secret, see [Options.Events].
func consumerAPI(stream string) []string {
	return []string{
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".*",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.ACK." + stream + ".>",
	}
}

func pullAPI(stream string) string { return "$JS.API.CONSUMER.MSG.NEXT." + stream + ".*" }

// entrySubjects are the feed subjects of revocations.
func (o Options) entrySubjects() []string {
	all := o.feedSubjects()
	return all[:len(all)-2]
}
