// Package e2e holds the tests of the whole system: the real service binaries as processes, a real PostgreSQL, the SQS
// endpoint, and the simulated platforms served by the test itself, so that it can hold, break and count every call.
package e2e
