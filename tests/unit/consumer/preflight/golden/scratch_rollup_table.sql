-- A scratch table that stands for a rollup.
CREATE TABLE usagepipe_preflight_1_a (
    case_name String,
    item UInt8,
    requests SimpleAggregateFunction(sum, UInt64)
)
ENGINE = ReplicatedAggregatingMergeTree
ORDER BY (case_name, item)
SETTINGS
    non_replicated_deduplication_window = 1000,
    replicated_deduplication_window = 1000,
    replicated_deduplication_window_seconds = 3600
