"""Names that a user gives, checked against those that there are."""

import difflib
from collections.abc import Iterable


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """The message where `name` is none of the `known` ones, with the one that may be meant.

    >>> print(unknown_name("preset", "fsat", ("single", "fast", "quality")))
    preset 'fsat' is unknown; do you mean 'fast'? Known are single, fast, quality
    >>> print(unknown_name("source", None, ("multibox", "both")))
    source None is unknown; known are multibox, both
    """
    known = list(known)
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), folded, 1) if isinstance(name, str) else []
    hint = f"do you mean {folded[near[0]]!r}? Known" if near else "known"
    return f"{what} {name!r} is unknown; {hint} are {', '.join(known)}"


def check_name(what: str, name: object, known: Iterable[str]) -> None:
    """ValueError (`unknown_name`) unless `name` is one of the `known` ones."""
    if name not in (known := tuple(known)):
        raise ValueError(unknown_name(what, name, known))


def as_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Several names, or a single one, as a tuple.

    >>> as_names("cat"), as_names(name for name in ("cat", "dog"))
    (('cat',), ('cat', 'dog'))
    """
    return (names,) if isinstance(names, str) else tuple(names)
