package provision

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/topology"
)

// ensure creates the stream that describe describes, or updates what exists under
// its name, and returns what the server then has. describe is given the token of
// the consumers that the stream sources through.
func (r *Realm) ensure(ctx context.Context, js jetstream.JetStream, describe func(token string) topology.Stream) (jetstream.StreamConfig, error) {
	name := describe("").Name
	for {
		have, err := js.Stream(ctx, name)
		switch {
		case err == nil:
			got, err := r.update(ctx, js, have.CachedInfo(), describe)
			if err != nil {
				return got, fmt.Errorf("provisioning stream %s: %w", name, err)
			}
			return got, nil
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return jetstream.StreamConfig{}, fmt.Errorf("provisioning stream %s: %w", name, err)
		}
		got, err := r.create(ctx, js, describe(rand.Text()))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			continue // another issuer was first; what it made is looked at like any other
		}
		if err != nil {
			return got, fmt.Errorf("provisioning stream %s: %w", name, err)
		}
		return got, nil
	}
}

// create makes a stream, and its consumers before it: a source that finds none
// tries again only after seconds.
func (r *Realm) create(ctx context.Context, js jetstream.JetStream, s topology.Stream) (jetstream.StreamConfig, error) {
	want, err := convert(s)
	if err != nil {
		return want, err
	}
	for _, src := range s.Sources {
		if err := r.consumer(ctx, src); err != nil {
			return want, err
		}
	}
	want.FirstSeq = uint64(time.Now().UnixMicro())
	made, err := js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return want, errors.Join(err, r.discard(ctx, s.Sources))
	}
	if err != nil {
		return want, err
	}
	return made.CachedInfo().Config, nil
}

// update makes an existing stream what describe says, if it is not.
func (r *Realm) update(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo, describe func(token string) topology.Stream) (jetstream.StreamConfig, error) {
	got := info.Config
	if later(got) {
		want, err := convert(describe(""))
		return got, errors.Join(err, inspect(got, want))
	}
	s, left, err := r.resume(ctx, info, describe)
	if err != nil {
		return got, err
	}
	want, err := convert(s)
	if err != nil {
		return got, err
	}
	for _, src := range s.Sources {
		if err := r.consumer(ctx, src); err != nil {
			return got, err
		}
	}
	next, err := merge(got, want)
	if err != nil {
		return got, err
	}
	if !reflect.DeepEqual(normal(got), normal(next)) {
		updated, err := js.UpdateStream(ctx, next)
		if err != nil {
			return got, fmt.Errorf("it cannot become what this version needs: %w", err)
		}
		got = updated.CachedInfo().Config
	}
	return got, errors.Join(r.discard(ctx, left), inspect(got, want))
}

// later reports whether a stream was made by a later version than this.
func later(c jetstream.StreamConfig) bool {
	v, err := strconv.Atoi(c.Metadata[topology.VersionKey])
	return err == nil && v > topology.Version
}

// merge returns what the stream should become: ours, except where what it has is
// later, longer or safer, and with whatever we do not speak about left alone.
func merge(have, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	if have.Storage != want.Storage || have.Retention != want.Retention {
		return have, fmt.Errorf("its storage is %v and its retention %v, which NATS cannot change", have.Storage, have.Retention)
	}
	next := have
	next.Description, next.Subjects, next.Discard = want.Description, want.Subjects, want.Discard
	next.MaxConsumers, next.MaxMsgs, next.MaxBytes = want.MaxConsumers, want.MaxMsgs, want.MaxBytes
	next.MaxMsgsPerSubject, next.MaxMsgSize = want.MaxMsgsPerSubject, want.MaxMsgSize
	next.Duplicates, next.Sources, next.RePublish = want.Duplicates, want.Sources, want.RePublish
	next.AllowDirect, next.AllowRollup = want.AllowDirect, want.AllowRollup
	next.AllowMsgTTL, next.AllowMsgSchedules = want.AllowMsgTTL, want.AllowMsgSchedules
	next.Replicas = max(have.Replicas, want.Replicas)
	if have.MaxAge == 0 || want.MaxAge == 0 {
		next.MaxAge = 0
	} else {
		next.MaxAge = max(have.MaxAge, want.MaxAge)
	}
	next.Metadata = maps.Clone(want.Metadata)
	maps.Copy(next.Metadata, have.Metadata)
	next.Metadata[topology.VersionKey] = want.Metadata[topology.VersionKey]
	return next, nil
}

// normal removes what the server adds by itself, so that configurations compare.
func normal(c jetstream.StreamConfig) jetstream.StreamConfig {
	c.Metadata = maps.Clone(c.Metadata)
	maps.DeleteFunc(c.Metadata, func(k, _ string) bool { return len(k) > 6 && k[:6] == "_nats." })
	return c
}

// inspect refuses what would lose events, whatever version wrote it.
func inspect(have, want jetstream.StreamConfig) error {
	switch {
	case have.AllowRollup && !want.AllowRollup:
		return errors.New("it allows roll-ups, by which one message erases others")
	case have.AllowMsgTTL && !want.AllowMsgTTL:
		return errors.New("it allows per-message expiry, by which it forgets what it must keep")
	case want.AllowMsgTTL && !have.AllowMsgTTL:
		return errors.New("it does not allow per-message expiry, so it would keep what must go")
	case have.SubjectDeleteMarkerTTL != 0:
		return errors.New("it leaves delete markers, which read like events")
	case want.RePublish != nil && (have.RePublish == nil || *have.RePublish != *want.RePublish):
		return errors.New("it does not republish as followers need")
	}
	return nil
}
