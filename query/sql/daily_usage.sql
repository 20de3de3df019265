-- The usage of each UTC day by what selects a price, and by customer for some customers.
SELECT
    toString(toDate(usage.bucket, 'UTC')) AS day,
    usage.provider AS provider,
    usage.model AS model,
    if(has({customers:Array(String)}, usage.customer_id), usage.customer_id, '') AS customer_id,
    ${measures}
FROM
(
    ${slices}
) AS usage
GROUP BY
    day,
    provider,
    model,
    customer_id
ORDER BY
    day,
    provider,
    model,
    customer_id
