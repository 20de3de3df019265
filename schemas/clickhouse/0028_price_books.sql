-- Keeps every price book by its version. A book never changes: its version is a hash of it.
CREATE TABLE IF NOT EXISTS price_books${local} ${on_cluster}
(
    version LowCardinality(String),
    book String CODEC(ZSTD(3)) COMMENT 'canonical JSON',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
-- The same book stored twice is one row in the end.
ENGINE = ${replicated}ReplacingMergeTree(stored_at)
ORDER BY version
