"""Commands that work on the log and the tables without a worker.

`audit` (audit*), `replay` (replay*), `import` (import_events), `status` and `dlq parked` and
`dlq release` (dlq_parked). Audit and replay share log_records, log_truncation and row_repair.
"""
