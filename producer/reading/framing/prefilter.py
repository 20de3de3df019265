"""A look at the bytes that tells which JSON cannot matter, so that it is never parsed.

It only ever rules out: what it lets through is parsed and read by structure. Nine of ten events
of a stream are ruled out, at a tenth of what parsing them costs.
"""

import re
from typing import Final

# A usage that is null is written with every chunk by OpenAI. No open-ended run of letters: on a
# text that says "usageusage…" it would take quadratic time.
find_usage: Final = re.compile(r'usage(?:Metadata)?"(?!\s*:\s*null)', re.ASCII).search
# Ollama and Llama on Bedrock; Titan and Bedrock's metrics.
find_count: Final = re.compile(r"_count|okenCount").search
# JSON may spell any letter of a name as \u0075. Nobody does, and it would be no reason to miss it.
find_spelled_out: Final = re.compile(r"\\u00[4-7]").search


def may_matter(document: bytes | bytearray, of_claude: bool = False) -> bool:
    """Whether whole JSON documents, in any framing, may hold usage, end a stream or fail it.

    In a stream `of_claude`, another model may take over.
    """
    text = document.decode("latin-1")  # `in` is twice as fast on str as on bytes
    # A pattern that begins with plain text is found as fast as that text.
    return (
        find_usage(text) is not None
        or ("ount" in text and find_count(text) is not None)
        or "message_st" in text  # message_start, message_stop
        or "[DONE]" in text
        or "error" in text  # or the name of an event
        or ("\\" in text and find_spelled_out(text) is not None)
        # A fallback of Claude's; Cohere's version 1, a realtime session with one more to come, and
        # the status of an interaction.
        or (
            '"fallback"' in text
            if of_claude
            else "billed_units" in text or "response.created" in text or '"failed"' in text
        )
    )
