package topology

import "fmt"

// Role is one kind of party at the broker. The zero Role is none and may nothing.
type Role uint8

// The roles. Each has an account of its own, named like it.
const (
	NoRole Role = iota
	// Issuer owns the streams.
	Issuer
	// Sidecar reads the feed and reports what it has applied.
	Sidecar
	// Subscriber is a service that acts on events; its account owns EVENTS.
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

// Share opens one subject of one account to another: requests travel to its
// owner (a service) or messages from it (a stream of messages).
type Share struct {
	Owner, To Role
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

// HasJetStream reports whether the role's account may hold streams.
func (r Role) HasJetStream() bool { return r == Issuer || r == Subscriber }

// Shares are all openings between the accounts of a realm.
func (o Options) Shares() []Share {
	service := func(owner, to Role, subject string) Share {
		return Share{Owner: owner, To: to, Subject: subject, Service: true}
	}
	directGet := func(to Role, stream string) Share {
		return Share{Owner: Issuer, To: to, Subject: "$JS.API.DIRECT.GET." + stream, Service: true, Many: true}
	}
	live := func(to Role) Share { return Share{Owner: Issuer, To: to, Subject: o.Realm.Live()} }
	feed, eventsStream := o.Realm.FeedStream(), o.Realm.EventsStream()

	list := []Share{
		directGet(Sidecar, feed),
		live(Sidecar),
		service(Issuer, Sidecar, o.Realm.Reports()),

		directGet(Operator, feed),
		directGet(Operator, o.Realm.AuditStream()),
		live(Operator),

		// What EVENTS needs to source FEED. The consumer exists already; from the
		// subscribers' account it can be rewound and answered, but not made: who
		// makes a consumer chooses where in the issuers' account it delivers.
		{
			Owner: Issuer, To: Subscriber, Service: true,
			Subject: "$JS.API.CONSUMER.RESET." + feed + "." + EventsConsumer,
			Local:   o.FeedAPI() + ".CONSUMER.RESET." + feed + "." + EventsConsumer,
		},
		service(Issuer, Subscriber, "$JS.FC."+feed+"."+EventsConsumer+".>"),
		{Owner: Issuer, To: Subscriber, Subject: o.EventsDeliver("*")},
	}
	// An operator denies. Lifting and keys are not here: they would allow.
	for _, s := range o.entrySubjects() {
		list = append(list, service(Issuer, Operator, s))
	}
	// With this an issuer keeps EVENTS as it should be, by its own credentials.
	for _, verb := range []string{"CREATE", "UPDATE", "INFO"} {
		list = append(list, Share{
			Owner: Subscriber, To: Issuer, Service: true,
			Subject: "$JS.API.STREAM." + verb + "." + eventsStream,
			Local:   o.EventsAPI() + ".STREAM." + verb + "." + eventsStream,
		})
	}
	return list
}

// Permissions are what the users of a role may do inside their account.
func (o Options) Permissions(r Role) Permissions {
	p := Permissions{Subscribe: []string{r.InboxPrefix() + ".>"}}
	switch r {
	case Issuer:
		p.Publish = append(p.Publish, o.Realm.Journal(), o.Realm.PulseSchedule(), "$JS.API.INFO")
		p.Publish = append(p.Publish, o.feedSubjects()...)
		for _, name := range []string{
			o.Realm.JournalStream(), o.Realm.PulseStream(), o.Realm.FeedStream(), o.Realm.AuditStream(),
		} {
			p.Publish = append(p.Publish, issuerAPI(name)...)
		}
		p.Subscribe = append(p.Subscribe, o.Realm.Reports(), o.Realm.Live())
	case Subscriber:
		p.Publish = append(p.Publish, consumerAPI(o.Realm.EventsStream())...)
	case Sidecar, Operator:
	case NoRole:
		return Permissions{}
	}
	for _, s := range o.Shares() {
		switch {
		case s.To != r || r == Subscriber: // what subscribers' account imports is for its server alone
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
		"$JS.API.STREAM.CREATE."+stream,
		"$JS.API.STREAM.UPDATE."+stream,
		"$JS.API.STREAM.INFO."+stream,
		"$JS.API.STREAM.MSG.GET."+stream,
		"$JS.API.DIRECT.GET."+stream,
		"$JS.API.DIRECT.GET."+stream+".>",
	)
}

// consumerAPI is what using consumers takes. Not reading the stream's own
// configuration: EVENTS' holds a secret, see [Options.Events].
func consumerAPI(stream string) []string {
	return []string{
		"$JS.API.CONSUMER.CREATE." + stream,
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".*",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".*",
		"$JS.ACK." + stream + ".>",
	}
}

// entrySubjects are the feed subjects of revocations.
func (o Options) entrySubjects() []string {
	all := o.feedSubjects()
	return all[:len(all)-2]
}
