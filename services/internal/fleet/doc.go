// Package fleet knows the sidecars of a realm: which there are, and how far each of them
// enforces the feed. It listens to their reports, asks for them when somebody waits, and
// says when a revocation is enforced everywhere (ADR-0017). Every issuer has a fleet of
// its own, made of nothing but what it has heard.
//
// Invariants:
//
//   - A sidecar counts as having confirmed a position only by its own word, of the
//     feed's present epoch, that it enforces that position.
//   - Whoever was heard of within the longest life of a token and has not signed off is
//     expected: a sidecar that is cut off is missing, not forgotten.
//   - Nothing is called enforced everywhere by an issuer that cannot know the fleet: one
//     that has just begun to listen, or whose table was too small.
//   - What reports cost is bounded whatever the fleet's size: asks are rare in
//     proportion to it, and spread the answers. So is what they may occupy here.
//
// A report is believed if it comes on a subject of its own name. Whoever holds a
// sidecar's credentials may publish any of these subjects, and so can speak for another
// sidecar: that can make a wait say too much or too little, and changes nothing that is
// denied.
package fleet
