"""The names of what is recorded: those of the messaging conventions, and ours, which begin with
`soniq.`.

Source: OpenTelemetry semantic conventions 1.44.0, messaging spans and messaging metrics.
"""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
SCOPE = "soniq_otel"
"""The name of the instrumentation scope."""
HEADER = "otel"
"""The header of a job that holds its creation context, as the propagator wrote it."""

SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
MESSAGE_ID = "messaging.message.id"
MESSAGE_COUNT = "messaging.batch.message_count"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"

OPERATION_DURATION = "messaging.client.operation.duration"
PROCESS_DURATION = "messaging.process.duration"
SENT_MESSAGES = "messaging.client.sent.messages"
CONSUMED_MESSAGES = "messaging.client.consumed.messages"

JOB_NAME = "soniq.job.name"
JOB_ATTEMPT = "soniq.job.attempt"
JOB_MAX_ATTEMPTS = "soniq.job.max_attempts"
JOB_OUTCOME = "soniq.job.outcome"
"""What ended the attempt: the `kind` of its `Outcome`."""
JOB_DUPLICATE = "soniq.job.duplicate"
"""True where the enqueue met a job of the same dedup key, whose id the span then has."""
BATCH_DUPLICATES = "soniq.batch.duplicate_count"
WORKER_ID = "soniq.worker.id"
QUEUE_TIME = "soniq.job.queue_time"
"""Seconds from when a job was due until its claim: on the span, and as a histogram."""
JOB_OUTCOMES = "soniq.job.outcomes"
SCHEDULE_NAME = "soniq.schedule.name"
SCHEDULE_AT = "soniq.schedule.at"
"""Of a job that a schedule of soniq-schedules made: its tick, as ISO 8601."""
SCHEDULE_HEADER = "soniq-schedule"
SCHEMA = "soniq.schema"
"""The PostgreSQL schema of the app: two of them on one server may have queues of one name."""
QUEUE_JOBS = "soniq.queue.jobs"
QUEUE_STATE = "soniq.queue.state"
QUEUE_OLDEST = "soniq.queue.oldest_waiting"

OTHER = "_OTHER"
"""In metrics, all queues and jobs beyond the first `MOST`; the conventions' own word."""
MOST = 100
"""The queues, and the names of jobs, that a process tells apart in metrics.

Each is a series in every backend.
"""

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds, as the conventions advise for both of their histograms."""
QUEUE_TIME_BUCKETS = (*DURATION_BUCKETS, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Jobs may wait for long: on to a day."""
