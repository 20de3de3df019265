-- The deduplication windows of tables whose definition has no such setting.
SELECT
    name,
    toUInt64(value)
FROM system.${kind}merge_tree_settings
WHERE name LIKE '%replicated_deduplication_window%'
