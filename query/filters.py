"""The filters of a question."""

from typing import TypedDict, get_type_hints

from usagepipe.schemas.errors import WrongUseError


class Filters(TypedDict, total=False):
    """Values that rows must have. None means any; empty text means rows without a value.

    `excluded_source` leaves one source out, such as `legacy`.
    """

    customer_id: str | None
    team_id: str | None
    user_id: str | None
    source: str | None
    excluded_source: str | None
    api_key_id: str | None
    provider: str | None
    model: str | None


FILTER_NAMES = tuple(get_type_hints(Filters))


def filter_parameters(filters: Filters) -> dict[str, str | None]:
    """All the parameters that `sql/filters.sql` names.

    Raises:
        WrongUseError: an unknown filter. Ignoring it would widen the answer silently.
    """
    unknown = sorted(set(filters) - set(FILTER_NAMES))
    if unknown:
        raise WrongUseError(f"no filter {unknown[0]!r}: it is one of {', '.join(FILTER_NAMES)}.")
    given: dict[str, str | None] = dict(filters)  # type: ignore[arg-type]  # a TypedDict of these
    return {name: given.get(name) for name in FILTER_NAMES}
