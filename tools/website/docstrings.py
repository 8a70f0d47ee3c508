"""Extension of Griffe: docstrings as Markdown that links names and shows doctests as code."""

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^(?:Args|Attributes|Raises):\n(?:(?: {4}.*)?\n?)+", re.MULTILINE)
_SHARED = re.compile(r"^ {4}(\w+(?:, \w+)+)(: .*(?:\n {5,}.*)*)", re.MULTILINE)
_DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
_NAME = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)")


class Docstrings(griffe.Extension):
    """What the docstrings of this repository have beyond Google style.

    `x, y: ...` in a section describes several arguments or attributes; doctests stand outside sections; names in
    backticks become links to their objects where these are on a page.
    """

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        self._convert(pkg)

    def _convert(self, thing: griffe.Object) -> None:
        if thing.docstring:
            text = _SECTION.sub(lambda section: _SHARED.sub(_split, section[0]), thing.docstring.value)
            text = _DOCTEST.sub(r"```pycon\n\g<0>\n```", text)
            thing.docstring.value = _NAME.sub(lambda name: _link(name, thing), text)
        for member in thing.members.values():
            if isinstance(member, griffe.Object):  # not an alias
                self._convert(member)


def _split(item: re.Match[str]) -> str:
    """`x, y: text` as an item for each name."""
    return "\n".join(f"    {name}{item[2]}" for name in item[1].split(", "))


def _link(name: re.Match[str], scope: griffe.Object) -> str:
    first, dot, rest = name[1].partition(".")
    try:
        path = scope.resolve(first)
    except griffe.NameResolutionError:
        if not dot:
            return name[0]
        path = first  # a package, or what has no page
    return f'<autoref identifier="{path}{dot}{rest}" optional><code>{name[1]}</code></autoref>'
