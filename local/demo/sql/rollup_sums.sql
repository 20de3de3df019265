-- Sums over a whole rollup: they must equal those over the events.
SELECT
    sum(rollup.requests) AS requests,
    sum(rollup.failures) AS failures,
    sum(rollup.prompt_tokens) AS prompt_tokens,
    sum(rollup.completion_tokens) AS completion_tokens,
    sum(rollup.total_tokens) AS total_tokens,
    sum(rollup.cost) AS cost
FROM {rollup:Identifier} AS rollup
