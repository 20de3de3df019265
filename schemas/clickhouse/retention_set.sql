-- Sets how long a table's rows stay, counted from the arrival of their (last) event.
-- From arrival, not from the event's time: an event that comes late must not vanish at once. In
-- days of the type Date, which reaches the year 2149, where a DateTime ends in 2106 and would wrap
-- round for a long retention. One day more, since the day that a row arrived in has begun already.
ALTER TABLE ${table}${local} ${on_cluster}
    MODIFY TTL toDate(${arrival}) + toIntervalDay(1 + ${days})
