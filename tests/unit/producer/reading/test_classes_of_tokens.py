"""No token is in two classes, in any recorded answer."""

from collections import Counter
from collections.abc import Iterator, Mapping

from tests.support.recorded import recorded_answers
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage
from usagepipe.schemas.prices import builtin_book

LIMIT = 256 * 1024


def usages() -> Iterator[tuple[str, Usage]]:
    """The usage of each recorded answer, and of the calls of other models in it, if it adds up."""
    for answer in recorded_answers():
        reader = AnswerReader(answer.content_type, "", LIMIT)
        reader.feed(answer.body.encode())
        usage = reader.read()
        if isinstance(usage, Usage):
            yield from ((answer.name, each) for each in (usage, *usage.parts) if each.adds_up)


def counts_of(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.prompt_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "output_tokens": usage.completion_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
        **usage.units,
    }


def excesses(counts: Mapping[str, int]) -> list[str]:
    """The units whose parts exceed them: one part, or those that exclude each other."""
    units = {name: unit.dimensions for name, unit in builtin_book().document.units.items()}
    sums: Counter[tuple[str, str]] = Counter()
    for whole in counts:
        for part in counts:
            extra = set(units[part]).difference(units[whole])
            if len(extra) == 1 and units[whole].items() < units[part].items():
                sums[whole, extra.pop()] += counts[part]
    return [whole for (whole, _), count in sums.items() if count > counts[whole]]


def test_no_token_of_a_recorded_answer_is_in_two_classes() -> None:
    """Nor do parts that exclude each other, such as audio and images, exceed their whole."""
    assert [] == [(name, found) for name, each in usages() if (found := excesses(counts_of(each)))]


def test_a_token_in_two_classes_is_found() -> None:
    """The check itself: audio and video, or cached audio, are more than what contains them."""
    audio = {"input_tokens": 10, "input_audio_tokens": 6}

    assert [] == excesses(audio | {"cache_read_tokens": 6, "cache_audio_read_tokens": 6})
    assert ["input_tokens"] == excesses(audio | {"input_video_tokens": 5})
    assert ["cache_read_tokens"] == excesses(
        audio | {"cache_read_tokens": 2, "cache_audio_read_tokens": 3}
    )
