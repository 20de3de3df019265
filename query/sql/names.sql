-- The newest names of some users or keys.
-- Where all events had left raw before `newest` was kept, the latest by the events' own time.
SELECT
    id,
    if(max(newest).name != '', max(newest).name, max(latest).name) AS name
FROM usage_names
WHERE kind = {kind:String}
    AND id IN {ids:Array(String)}
GROUP BY id
