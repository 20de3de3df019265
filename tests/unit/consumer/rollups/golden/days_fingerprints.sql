SELECT toUnixTimestamp(toStartOfDay(toDateTime(events.bucket,
'UTC'))) AS day,
sum(cityHash64(toStartOfDay(toDateTime(events.bucket,
'UTC')),
events.customer_id,
events.team_id,
events.user_id,
events.source,
events.api_key_id,
events.provider,
events.model) * (17037752968023096783 * events.requests + 4405084428486889267 * events.failures + 12587149720824582555 * events.prompt_tokens + 17418617163601464171 * events.completion_tokens + 6243087263857698165 * events.total_tokens + 4593266285946737825 * events.cached_tokens + 9562828902660209317 * events.cache_write_tokens + 12931371065019960761 * events.reasoning_tokens + 13324396615442431063 * events.unpriced_requests + 10201421926934963967 * events.missing_requests + 14492821923577467605 * events.partial_requests + 681939389183147643 * events.inconsistent_requests + 9611166587010364229 * events.failures_without_usage + 11494021549153102363 * toUInt64(reinterpretAsInt128(ifNull(events.cost,
0)))))
FROM rollup_usage_15m AS events WHERE events.bucket >= {first:DateTime('UTC')} AND events.bucket < {end:DateTime('UTC')} GROUP BY day
;
SELECT toUnixTimestamp(toStartOfDay(toDateTime(events.bucket,
'UTC'))) AS day,
sum(cityHash64(toStartOfDay(toDateTime(events.bucket,
'UTC')),
events.customer_id,
events.team_id,
events.user_id,
events.source,
events.api_key_id,
events.provider,
events.model) * (17037752968023096783 * events.requests + 4405084428486889267 * events.failures + 12587149720824582555 * events.prompt_tokens + 17418617163601464171 * events.completion_tokens + 6243087263857698165 * events.total_tokens + 4593266285946737825 * events.cached_tokens + 9562828902660209317 * events.cache_write_tokens + 12931371065019960761 * events.reasoning_tokens + 13324396615442431063 * events.unpriced_requests + 10201421926934963967 * events.missing_requests + 14492821923577467605 * events.partial_requests + 681939389183147643 * events.inconsistent_requests + 9611166587010364229 * events.failures_without_usage + 11494021549153102363 * toUInt64(reinterpretAsInt128(ifNull(events.cost,
0)))))
FROM rollup_usage_1d AS events WHERE events.bucket >= {first:DateTime('UTC')} AND events.bucket < {end:DateTime('UTC')} GROUP BY day
