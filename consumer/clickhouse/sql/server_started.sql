-- When the server was started, in Unix seconds.
SELECT toInt64(toUnixTimestamp(now())) - uptime()
