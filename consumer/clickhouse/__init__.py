"""What the worker asks of ClickHouse, and what its errors mean."""
