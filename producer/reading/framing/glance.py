"""A look at the bytes that tells which JSON cannot matter, so that it is never parsed.

It only ever rules out: what it lets through is parsed and read by structure. Nine of ten events
of a stream are ruled out, at a tenth of what parsing them costs.
"""

import re
from typing import Final

# A usage that is null is written with every chunk by OpenAI. No open-ended run of letters: on a
# text that says "usageusage…" it would take quadratic time.
find_usage: Final = re.compile(rb'usage(?:Metadata)?"(?!\s*:\s*null)').search
# Ollama and Llama on Bedrock; Titan and Bedrock's metrics.
find_count: Final = re.compile(rb"_count|okenCount").search
# JSON may spell any letter of a name as \u0075. Nobody does, and it would be no reason to miss it.
find_spelled_out: Final = re.compile(rb"\\u00[4-7]").search


def may_matter(text: bytes | bytearray, of_claude: bool = False) -> bool:
    """Whether whole JSON documents, in whatever frame, may hold usage, end a stream or fail it.

    In a stream `of_claude`, another model may take over.
    """
    # A pattern that begins with plain text is found as fast as that text.
    return (
        find_usage(text) is not None
        or (b"ount" in text and find_count(text) is not None)
        or b"message_st" in text  # message_start, message_stop
        or b"[DONE]" in text
        or b"error" in text  # or the name of an event
        or (b"\\" in text and find_spelled_out(text) is not None)
        # A fallback of Claude's; Cohere's version 1, a realtime session with one more to come, and
        # the status of an interaction.
        or (
            b'"fallback"' in text
            if of_claude
            else b"billed_units" in text or b"response.created" in text or b'"failed"' in text
        )
    )
