"""Validation of names in settings and arguments."""

import difflib
from collections.abc import Iterable

_MOST, _SHOWN = 100, 30
"""Of more than `_MOST` names, `_SHOWN` are listed."""


def unknown_name(what: str, name: object, choices: Iterable[str]) -> str:
    """Returns the message that `name` is not one of the `choices`, with the closest match.

    >>> print(unknown_name("preset", "fsat", ("single", "fast", "quality")))
    preset 'fsat' is unknown; do you mean 'fast'? Known are single, fast, quality
    >>> print(unknown_name("source", None, ("multibox", "both")))
    source None is unknown; known are multibox, both
    """
    choices = list(choices)
    by_casefold = {candidate.casefold(): candidate for candidate in choices}
    matches = difflib.get_close_matches(name.casefold(), by_casefold, 1) if isinstance(name, str) else []
    hint = f"do you mean {by_casefold[matches[0]]!r}? Known" if matches else "known"
    more = f", ... {len(choices):,} in all" if len(choices) > _MOST else ""
    listed = choices[:_SHOWN] if more else choices
    return f"{what} {name!r} is unknown; {hint} are {', '.join(listed)}{more}"


def check_name(what: str, name: object, choices: Iterable[str]) -> None:
    """Raises a ValueError (`unknown_name`) unless `name` is one of the `choices`."""
    if name not in (choices := tuple(choices)):
        raise ValueError(unknown_name(what, name, choices))


def as_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Returns one or several names as a tuple.

    A value that cannot be iterated, such as 3, counts as one name, so that callers report it as unknown.

    >>> as_names("cat"), as_names(name for name in ("cat", "dog"))
    (('cat',), ('cat', 'dog'))
    """
    return tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else (names,)
