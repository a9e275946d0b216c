// Package seam lets a test take a protection away, to show that it is the protection that protects: the same test with
// it off must show the failure, or it proves nothing.
//
// Only programs built with the tag seams can: there the environment's NTHLAYER_SEAMS names what is off, separated by
// commas. In every other program Off is false at compile time, and nothing of it is left. Where it is asked is where each
// promise is kept.
package seam

// The protections, each named after what it does.
const (
	Announce  = "announce"  // what waits and nobody knows is told to the queue again
	Reobserve = "reobserve" // after an interruption the target is looked at before a change is repeated
	Permit    = "permit"    // a call leaves only while the lease surely runs
	Whole     = "whole"     // what could not be read is not taken for empty
	Guard     = "guard"     // a plan that removes too much is not applied
	Key       = "key"       // a request that is repeated under its key is the same request
	Quota     = "quota"     // calls wait for their place in the platform's quota
	Chain     = "chain"     // each entry of the trail holds the hash of the one before
	LookUp    = "lookup"    // a message that may be there is looked for before it is posted again
	Bury      = "bury"      // what fails in every attempt is given up and shown
)
