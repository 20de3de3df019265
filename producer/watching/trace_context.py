"""The trace that a request is part of: what its `traceparent` header says (W3C Trace Context).

By its ids a row of usage is found from a trace, and the trace from the row. A header is a
stranger's text, so nothing but the standard's form is taken: what gets into an event is 48
hexadecimal digits. https://www.w3.org/TR/trace-context/#traceparent-header
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
    """`trace_id` and `span_id` (the caller's span) of a header's value; empty if it is not valid.

    Of version 00 the length is fixed; later versions may have more behind what is known.
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
