package provision

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/topology"
)

// resume describes an existing stream with the consumers that it sources through, and
// says which of them are left behind: the origin's, if it was put back.
//
// An origin that was put back to an older copy of itself gives out once more sequences
// that the stream has from it already, and the server skips those without a word,
// reporting no lag: what is announced in that span would be in no audit and reach no
// subscriber. It knows its place by the consumer's name. So the stream goes on through
// another consumer, from the origin's beginning: of what stands there it then has some
// twice, and all.
func (r *Realm) resume(ctx context.Context, info *jetstream.StreamInfo, describe func(token string) topology.Stream) (s topology.Stream, left []topology.Source, err error) {
	s = describe("")
	for i, src := range s.Sources {
		token, err := tokenOf(info.Config, src.Name)
		if err != nil {
			return s, nil, err
		}
		s.Sources[i] = describe(token).Sources[i]
		if back, err := r.putBack(ctx, info, src.Name); err != nil {
			return s, nil, err
		} else if back {
			left = append(left, s.Sources[i])
			s.Sources[i] = describe(successor(token)).Sources[i]
		}
	}
	return s, left, nil
}

// putBack reports whether a stream has from an origin what that has not reached again.
func (r *Realm) putBack(ctx context.Context, info *jetstream.StreamInfo, origin string) (bool, error) {
	i := slices.IndexFunc(info.Sources, func(s *jetstream.StreamSourceInfo) bool { return s.Name == origin })
	if i < 0 || info.Sources[i].Seq == 0 {
		return false, nil
	}
	// Asked after the stream: the origin can only have gone on.
	stream, err := r.js.Stream(ctx, origin)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil // made anew, it is another stream to the server too
	}
	if err != nil {
		return false, fmt.Errorf("looking at stream %s: %w", origin, err)
	}
	return stream.CachedInfo().State.LastSeq < info.Sources[i].Seq, nil
}

// successor is the token after another: the same for every issuer that wants one at the
// same time, and as secret.
func successor(token string) string {
	sum := sha256.Sum256([]byte("revocast sources again after " + token))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])[:26]
}

// tokenOf reads the token from the name of the consumer that a stream reads an origin
// through; of any consumer if it does not read that one yet.
func tokenOf(c jetstream.StreamConfig, origin string) (found string, err error) {
	for _, src := range c.Sources {
		if src.Consumer == nil {
			continue
		}
		if _, token, ok := strings.Cut(src.Consumer.Name, "-"); ok && token != "" && (found == "" || src.Name == origin) {
			found = token
		}
	}
	if found == "" {
		return "", errors.New("it exists and does not source through a consumer of Revocast's; it was made by something else")
	}
	return found, nil
}

// discard removes consumers that no stream reads through.
func (r *Realm) discard(ctx context.Context, sources []topology.Source) error {
	for _, src := range sources {
		err := r.js.DeleteConsumer(ctx, src.Name, src.Consumer.Name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("removing unused consumer %s of stream %s: %w", src.Consumer.Name, src.Name, err)
		}
	}
	return nil
}
