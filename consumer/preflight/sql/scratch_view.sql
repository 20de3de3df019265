-- A view between two scratch tables. It throws when an insert asks for it, so that the same insert
-- without it can complete the view. With item in it the question is asked of each row, when the
-- insert has begun.
CREATE MATERIALIZED VIEW ${name} TO ${target} AS
SELECT
    case_name,
    item,
    ${requests} AS requests
FROM ${source} AS source
WHERE throwIf(getSetting('log_comment') = '${target}' AND item < 255) = 0
GROUP BY case_name, item
