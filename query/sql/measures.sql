-- What is counted, summed over the rows of `usage`.
sum(usage.requests) AS requests,
sum(usage.failures) AS failures,
sum(usage.prompt_tokens) AS prompt_tokens,
sum(usage.completion_tokens) AS completion_tokens,
sum(usage.total_tokens) AS total_tokens,
sum(usage.cached_tokens) AS cached_tokens,
sum(usage.cache_write_tokens) AS cache_write_tokens,
sum(usage.reasoning_tokens) AS reasoning_tokens,
if(count() = 0, 0, sum(usage.cost)) AS cost,
sum(usage.unpriced_requests) AS unpriced_requests,
sum(usage.missing_requests) AS missing_requests,
sum(usage.partial_requests) AS partial_requests,
sum(usage.inconsistent_requests) AS inconsistent_requests
