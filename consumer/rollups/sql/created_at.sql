-- When the first migration was applied: the tables are not older.
SELECT
    count(),
    min(applied_at)
FROM usagepipe_migrations
