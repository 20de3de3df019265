-- Keeps the latest name of each user and key, so that a rollup by ids can show it.
-- A small table: reading the names from raw would read every row of a range.
CREATE TABLE IF NOT EXISTS usage_names${local} ${on_cluster}
(
    kind LowCardinality(String) COMMENT 'user or api_key',
    id String,
    latest SimpleAggregateFunction(max, Tuple(occurred_at DateTime64(3, 'UTC'), name String)),
    last_stored_at SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
)
ENGINE = ${replicated}AggregatingMergeTree
-- A name is looked up by what it names; there is nothing else to ask.
ORDER BY (kind, id)
SETTINGS
    non_replicated_deduplication_window = 100000,
    replicated_deduplication_window = 100000,
    replicated_deduplication_window_seconds = 2592000
