package front

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/revocast/revocast/sidecar/internal/gate"
)

// maxQuery is far more than a dozen scopes take.
const maxQuery = 2 << 10

var errQuery = errors.New("the demand cannot be read")

// ReadAsk reads what a query demands; see [AskOf].
func ReadAsk(query string) (gate.Ask, error) {
	if query == "" {
		return gate.Ask{}, nil
	}
	if len(query) > maxQuery {
		return gate.Ask{}, errQuery
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return gate.Ask{}, errQuery
	}
	return AskOf(values)
}

// AskOf reads what named values demand: `scope` (names separated by spaces; may be
// repeated) and `max_stale` (a positive duration such as 5s). Anything else is
// refused: a demand that is spelt wrongly must not be a demand that is dropped.
func AskOf(values map[string][]string) (ask gate.Ask, err error) {
	for name, given := range values {
		switch name {
		case "scope":
			ask.Scopes, err = readScopes(given)
		case "max_stale":
			ask.MaxStale, err = readMaxStale(given)
		default:
			err = errQuery
		}
		if err != nil {
			return gate.Ask{}, err
		}
	}
	return ask, nil
}

func readScopes(given []string) (scopes []string, err error) {
	for _, list := range given {
		for s := range strings.SplitSeq(list, " ") {
			if !gate.ValidScope(s) {
				return nil, errQuery
			}
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

func readMaxStale(given []string) (time.Duration, error) {
	if len(given) != 1 {
		return 0, errQuery
	}
	d, err := time.ParseDuration(given[0])
	if err != nil || d <= 0 {
		return 0, errQuery
	}
	return d, nil
}
