-- The latest names of some users or keys.
SELECT
    id,
    max(latest).2 AS name
FROM usage_names
WHERE kind = {kind:String}
    AND id IN {ids:Array(String)}
GROUP BY id
