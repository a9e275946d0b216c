// Package telemetry is how a service can be watched: JSON logs, traces and metrics.
//
// Logs carry what the context knows: attributes added with With (job_id, team_id, idem_key) and the trace_id of the span,
// on every line made with one of slog's …Context methods. Secrets and credentials are taken out of every line, whoever
// wrote it.
//
// Traces use ids that AWS X-Ray accepts and travel as W3C traceparent, baggage and X-Ray's header, so one trace can be
// followed from HTTP through Postgres and SQS to Slack. Traces and metrics leave the process only when an OTLP endpoint
// is configured; trace ids are there always. Other packages use OpenTelemetry's API alone.
package telemetry
