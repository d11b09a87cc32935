package eventstest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events/eventstest"
	"github.com/revocast/revocast/events/topology"
)

func TestProbe(t *testing.T) {
	s := eventstest.RunServer(t)
	iss := s.Connect(t, topology.Issuer)
	sb := s.Connect(t, topology.Subscriber)
	js, _ := jetstream.New(iss)
	r := eventstest.Realm
	for i := range 10 {
		if _, err := js.Publish(t.Context(), r.FeedEntry(1, "x", string(rune(65+i))), []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	s.WaitReady(t)
	ejs, _ := jetstream.NewWithAPIPrefix(iss, s.Topology().EventsAPI())
	state := func(w string) {
		st, err := ejs.Stream(t.Context(), r.EventsStream())
		if err != nil {
			t.Log(w, err)
			return
		}
		i := st.CachedInfo()
		t.Logf("%s: %s msgs=%d first=%d last=%d cons=%d subj=%v", w, r.EventsStream(), i.State.Msgs, i.State.FirstSeq, i.State.LastSeq, i.State.Consumers, i.State.Subjects)
	}
	state("before")
	sjs, _ := jetstream.New(sb)
	_, err := sjs.CreateOrUpdatePushConsumer(t.Context(), r.EventsStream(), jetstream.ConsumerConfig{
		Durable: "push", DeliverSubject: "$JS.API.STREAM.DELETE." + r.EventsStream(), HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	t.Log(err)
	time.Sleep(2 * time.Second)
	c, err := sjs.PushConsumer(t.Context(), r.EventsStream(), "push")
	if err != nil {
		t.Log(err)
	} else {
		t.Logf("%+v", c.CachedInfo())
	}
	state("after push")
	_, err = sjs.CreateOrUpdatePushConsumer(t.Context(), r.EventsStream(), jetstream.ConsumerConfig{
		Durable: "push2", DeliverSubject: "$JS.API.STREAM.DELETE." + r.EventsStream(), HeadersOnly: true, AckPolicy: jetstream.AckNonePolicy, DeliverGroup: "g",
	})
	t.Log(err)
	time.Sleep(2 * time.Second)
	state("after push2")
}
