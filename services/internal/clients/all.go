package clients

import (
	"cmp"
	"maps"
	"slices"
)

// All lists every client, by id.
func (r Registry) All() []Client {
	return slices.SortedFunc(maps.Values(r.clients), func(a, b Client) int { return cmp.Compare(a.ID, b.ID) })
}

// All lists every client, as [Registry.All] does.
func (l *Live) All() []Client { return l.Registry().All() }
