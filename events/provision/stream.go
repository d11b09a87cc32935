package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/topology"
)

// stream creates s, or updates what exists under its name, and returns what the
// server then has.
func (r *Realm) stream(ctx context.Context, js jetstream.JetStream, s topology.Stream) (jetstream.StreamConfig, error) {
	want, err := convert(s)
	if err != nil {
		return want, err
	}
	have, err := js.Stream(ctx, s.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		create := want
		create.FirstSeq = uint64(time.Now().UnixMicro())
		have, err = js.CreateStream(ctx, create)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			// Another issuer was first; what it made is looked at like any other.
			have, err = js.Stream(ctx, s.Name)
		}
	}
	if err != nil {
		return want, fmt.Errorf("provisioning stream %s: %w", s.Name, err)
	}
	got := have.CachedInfo().Config
	next, err := merge(got, want)
	if err != nil {
		return want, fmt.Errorf("provisioning stream %s: %w", s.Name, err)
	}
	if !reflect.DeepEqual(normal(got), normal(next)) {
		updated, err := js.UpdateStream(ctx, next)
		if err != nil {
			return want, fmt.Errorf("updating stream %s, which cannot become what this version needs: %w", s.Name, err)
		}
		got = updated.CachedInfo().Config
	}
	if err := inspect(got, want); err != nil {
		return want, fmt.Errorf("inspecting stream %s: %w", s.Name, err)
	}
	return got, nil
}

// merge returns what the stream should become: ours, except where what it has is
// later, longer or safer, and with whatever we do not speak about left alone.
func merge(have, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	if v, err := strconv.Atoi(have.Metadata[topology.VersionKey]); err == nil && v > topology.Version {
		return have, nil
	}
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
