-- The start of the bucket that usage lies in, in a time zone.
toUnixTimestamp(
    toDateTime(${start_of}(usage.bucket, {time_zone:String}), {time_zone:String})
) AS start
