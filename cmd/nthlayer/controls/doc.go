// Package controls shows of each promise (docs/architecture.md) that it is kept, and that it is one protection that keeps
// it: a scenario runs twice against the real service binaries. TestPromise_… runs it with every protection and wants the
// promise; TestControl_… runs it with that one taken away (pkg/seam) and wants to see the promise broken.
package controls
