// Package chaos hurts a whole system while it works, and has it judged from the outside (pkg/testkit/checker): two gateways,
// three workers of which two have wrong clocks, two notifiers, an audit-scheduler, a PostgreSQL, a Redis and an SQS endpoint
// of its own, and simulated platforms. Owners of 60 teams drift them and have them reconciled all the time, and auditors and
// a schedule have all teams audited.
//
// `make chaos` runs everything, in about ten minutes; `make chaos-short` what fits into three. Faults at random come from
// a seed that is printed: NTHLAYER_CHAOS_SEED takes it again.
package chaos
