-- Keeps which price book was applied, when and by whom. The newest row names the active book.
CREATE TABLE IF NOT EXISTS price_book_history${local} ${on_cluster}
(
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6),
    version LowCardinality(String),
    applied_by String COMMENT 'user and host',
    comment String
)
ENGINE = ${replicated}MergeTree
-- By the server's clock.
ORDER BY applied_at
