"""Commands that work on the log and the tables without a worker.

`audit` (audit*, log_truncation), `replay` (replay*), `import` (import_events), `status`, and
`dlq parked` and `dlq release` (dlq_parked). They share consumed_topic, log_records and row_repair.
"""
