package signing

import (
	"slices"

	"github.com/revocast/revocast/events/claims"
)

// Accept adds to the audiences that tokens of this issuer can be for. None is ever
// taken away while the process lives: who was given a token for one may still show it
// to the issuer's own endpoints, to log out for instance. That nobody is given another
// is for those to see to who give them.
func (k *Keys) Accept(audiences []string) {
	for {
		before := k.audiences.Load()
		all := slices.Clone(audiences)
		if before != nil {
			all = append(all, *before...)
		}
		slices.Sort(all)
		all = slices.Compact(all)
		if k.audiences.CompareAndSwap(before, &all) {
			return
		}
	}
}

// serves reports whether a token for these audiences is for any that this issuer
// serves.
func (k *Keys) serves(audience claims.Audience) bool {
	return slices.ContainsFunc(*k.audiences.Load(), audience.Contains)
}
