// Package cores keeps the load's sender and what it is sent to on processors of their own,
// so that neither takes time from the other.
package cores

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// List is a set of processors by number, in order. Empty means none in particular.
type List []int

// most is how many processors Linux can tell apart here.
const most = 1024

// UnmarshalText reads what taskset(1) takes: 0-3,8.
func (l *List) UnmarshalText(text []byte) error {
	var all List
	for part := range strings.SplitSeq(string(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.ParseUint(first, 10, 16)
		to := from
		if isRange && err == nil {
			to, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || to < from || to >= most {
			return fmt.Errorf("%q: want processors such as 0-3,8", text)
		}
		for n := from; n <= to; n++ {
			all = append(all, int(n))
		}
	}
	slices.Sort(all)
	*l = slices.Compact(all)
	return nil
}

// String gives the list as taskset takes it.
func (l List) String() string {
	var parts []string
	for i := 0; i < len(l); {
		j := i
		for j+1 < len(l) && l[j+1] == l[j]+1 {
			j++
		}
		part := strconv.Itoa(l[i])
		if j > i {
			part += "-" + strconv.Itoa(l[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}
