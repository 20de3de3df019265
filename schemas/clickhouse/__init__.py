"""The tables in ClickHouse: numbered SQL files, what applies them, and how to connect.

The files are never edited once they were released: a change is a new number. Nothing here is
imported by the thin producer; the client library loads on first use.
"""
