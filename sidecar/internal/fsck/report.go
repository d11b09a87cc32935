package fsck

import (
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
)

// Report is the outcome. It is clean if Faults is empty.
type Report struct {
	Clean bool `json:"clean"`
	// Faults and Notes are sentences: what is wrong, and what one should know.
	Faults []string `json:"faults"`
	Notes  []string `json:"notes"`

	Store Side `json:"store"`
	Feed  Side `json:"feed"`
	// SameEpoch: the store follows this very feed, so what the feed holds up to the
	// store's position must be in the store.
	SameEpoch bool `json:"same_epoch"`
	// Behind counts the feed's entries after the store's position, which the store has
	// yet to take in.
	Behind int `json:"behind"`

	// Missing are the feed's and not the store's. Different are in the store under the
	// same revocation id, but with another cut, exception or expiry. Either is a fault.
	Missing   Named `json:"missing"`
	Different Named `json:"different"`
	// OnlyInStore is no fault.
	OnlyInStore OnlyInStore `json:"only_in_store"`
	// Lifted counts entries of the feed that the store rightly lacks. MissingLifts are
	// lifts of the feed that the store does not know, StillThere entries that it keeps
	// although it knows their lift: faults, since both deny what should pass.
	Lifted       int   `json:"lifted"`
	MissingLifts Named `json:"missing_lifts"`
	StillThere   Named `json:"lifted_and_still_there"`
	Index        Index `json:"index"`

	// Rounds is how often both sides were read.
	Rounds      int     `json:"rounds"`
	TookSeconds float64 `json:"took_seconds"`
}

// Side is what one side holds.
type Side struct {
	// Epoch names the life of the feed: the one that the store follows, and the one
	// that the feed's newest heartbeat names.
	Epoch events.Epoch `json:"epoch"`
	// Position is the store's cursor, or the feed's last sequence.
	Position uint64 `json:"position"`
	// FreshAsOf is what the store's cursor claims.
	FreshAsOf time.Time `json:"fresh_as_of,omitzero"`
	// Entries by kind, of those that still deny; Expired those on their way out.
	Entries map[string]int `json:"entries"`
	Expired int            `json:"expired"`
	Lifts   int            `json:"lifts"`
	// Unreadable events could not be decoded, Unsigned lifts do not bear the realm
	// root's signature.
	Unreadable int `json:"unreadable"`
	Unsigned   int `json:"unsigned"`
}

func (s *Side) count(k events.Kind) {
	if s.Entries == nil {
		s.Entries = map[string]int{}
	}
	s.Entries[k.String()]++
}

// Named is a number of entries, the first of them by name.
type Named struct {
	Count    int     `json:"count"`
	Examples []Entry `json:"examples,omitempty"`
}

// maxExamples is how many entries are named.
const maxExamples = 100

func (n *Named) add(r *events.Revocation) {
	if n.Count++; n.Count <= maxExamples {
		n.Examples = append(n.Examples, Entry{r.ID, r.Kind.String(), r.Issuer, r.Target, r.Until})
	}
}

// Entry names one entry.
type Entry struct {
	RevocationID events.RevocationID `json:"revocation_id"`
	Kind         string              `json:"kind"`
	Issuer       events.Issuer       `json:"issuer"`
	ID           string              `json:"id"`
	ExpiresAt    time.Time           `json:"expires_at,omitzero"`
}

// OnlyInStore counts entries that the feed does not hold, by the reason.
type OnlyInStore struct {
	// Expired: past their time, which the feed lets go of at once and the store within
	// a minute.
	Expired int `json:"expired"`
	// Earlier: still good, so from an earlier life of the feed, or removed from it by
	// hand. They go on denying until they expire.
	Earlier int `json:"earlier"`
}

// Index is whether look-ups would find what the store holds.
type Index struct {
	// Checked is false for a sidecar that does not run, or is still filling its index.
	Checked bool  `json:"checked"`
	Entries int   `json:"entries"`
	Missing Named `json:"missing"`
}

// conclude says in sentences what the numbers mean.
func (r *Report) conclude() {
	r.Faults, r.Notes = []string{}, []string{}
	fault := func(n int, format string) {
		if n > 0 {
			r.Faults = append(r.Faults, fmt.Sprintf(format, n))
		}
	}
	fault(r.Missing.Count, "the store lacks %d entries of the feed: what they deny passes once it is not in memory")
	fault(r.Different.Count, "%d entries of the store differ from the feed's")
	fault(r.MissingLifts.Count, "the store does not know %d lifts of the feed: what they took back is denied")
	fault(r.StillThere.Count, "the store keeps %d entries that it knows to be lifted")
	fault(r.Index.Missing.Count, "the index does not find %d entries of the store: what they deny passes")
	r.Clean = len(r.Faults) == 0

	note := func(is bool, format string, args ...any) {
		if is {
			r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
		}
	}
	note(r.Store.Epoch == "", "the store is empty: it has not followed any feed yet")
	note(r.Feed.Epoch == "", "the feed holds no heartbeat: the broker has sent none for a minute")
	note(r.Store.Epoch != "" && !r.SameEpoch,
		"the store follows another life of the feed: it is not held against this one, and will follow it from its beginning")
	note(r.Behind > 0, "the store has yet to take in %d entries", r.Behind)
	note(r.OnlyInStore.Expired > 0, "%d entries of the store have expired: the feed has let go of them, the store will within a minute", r.OnlyInStore.Expired)
	note(r.OnlyInStore.Earlier > 0,
		"%d entries are only in the store, from an earlier life of the feed or removed from it by hand; they go on denying until they expire", r.OnlyInStore.Earlier)
	note(r.Feed.Unreadable > 0, "%d events of the feed cannot be decoded", r.Feed.Unreadable)
	note(r.Feed.Unsigned > 0, "%d lifts in the feed are not signed by the realm's root, and count for nothing", r.Feed.Unsigned)
	note(!r.Index.Checked, "the index was not checked: the sidecar does not run, or is still filling it")
}
