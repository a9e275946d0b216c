// Package system runs the whole of NthLayer on one machine: the real service binaries as child processes, a real
// PostgreSQL, a Redis and an SQS endpoint in memory, simulators of the three platforms and of a mail server, and an issuer
// of tokens.
//
// Start brings the parts up in the order in which they need each other and returns when every service says that it is
// ready; Stop takes them down in reverse. A part that starts gives back how it is stopped, and nothing else keeps that
// order. A service that dies is started again, as an orchestrator would do it, and so is the PostgreSQL; the parts stay
// reachable under the same addresses for the system's life, so that tests may hurt one part and watch the others.
//
// Each part can be replaced by one outside: see Outside.
package system
