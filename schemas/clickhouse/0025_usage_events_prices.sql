-- Adds what providers bill by, and where a cost comes from, to the events.
-- Events that are stored already keep their cost: until now it was reported or stamped.
ALTER TABLE usage_events${local} ${on_cluster}
    ADD COLUMN IF NOT EXISTS part UInt8 AFTER attempt,
    ADD COLUMN IF NOT EXISTS service_tier LowCardinality(String) AFTER endpoint,
    ADD COLUMN IF NOT EXISTS batch Bool AFTER service_tier,
    ADD COLUMN IF NOT EXISTS units Map(LowCardinality(String), UInt64) AFTER post_filter_prompt_tokens,
    ADD COLUMN IF NOT EXISTS cost_source LowCardinality(String) AFTER cost,
    ADD COLUMN IF NOT EXISTS reported_cost Nullable(Decimal(38, 12)) AFTER cost_source
