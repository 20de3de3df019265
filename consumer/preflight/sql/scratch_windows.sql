-- How many inserts a scratch table remembers.
SETTINGS
    non_replicated_deduplication_window = ${blocks},
    replicated_deduplication_window = ${blocks},
    replicated_deduplication_window_seconds = 3600
