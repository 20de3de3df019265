-- Totals of a range.
SELECT
    ${measures}
FROM
(
    ${slices}
) AS usage
