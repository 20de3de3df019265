"""Record every AI request as a usage event: through Kafka, with Faust, into ClickHouse.

Nothing is imported here: `import usagepipe` is free, and each part is imported by its own name
(`usagepipe.producer`, `usagepipe.consumer`, `usagepipe.query`).
"""

__version__ = "0.1.0"
