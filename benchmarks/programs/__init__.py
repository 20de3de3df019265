"""The programs that are measured, each a process of its own.

The peers' run in environments without usagepipe, so nothing that they import may import it.
"""
