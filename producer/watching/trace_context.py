"""The ids of the trace that a request belongs to, from its `traceparent` header.

They lead from a trace to its usage rows and back. Anybody can write the header, so only the form of
the standard is accepted: an event gets 48 hexadecimal digits, nothing else. (W3C Trace Context,
https://www.w3.org/TR/trace-context/#traceparent-header)
"""

import re
from typing import Final

TRACEPARENT: Final = "traceparent"  # the header's name
# Version, trace id, id of the caller's span, flags: lower case only, no id all zeros.
_FORM: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?",
    re.DOTALL,
)


def trace_of(traceparent: str) -> dict[str, str]:
    """`trace_id` and `span_id` (the caller's span) in a header's value; empty if it is not valid.

    Version 00 has a fixed length. Later versions may append more.
    """
    if not traceparent:
        return {}
    match = _FORM.fullmatch(traceparent.strip(" \t"))
    if match is None:
        return {}
    version, trace_id, span_id, more = match.groups()
    if version == "00" and more is not None:
        return {}
    return {"trace_id": trace_id, "span_id": span_id}
