package syncer

// startOver follows the feed from its beginning, as [Deps].Restart asks.
func (r *run) startOver() {
	r.log.Warn("the denylist's store has lost what it held: the feed is read from its beginning")
	r.perform(r.machine.Restart())
}
