"""From the bytes of records to rows that ClickHouse takes."""
