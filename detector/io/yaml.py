"""YAML from anywhere, read as plain values."""

from typing import Any

import yaml

LARGEST = 2**20
"""Bytes of a file that is read; data sets and recipes have some thousand."""


class _Loader(yaml.SafeLoader):
    """Without aliases: a few lines of them stand for more values than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*{self.peek_event().anchor}) are not read; write the value itself")
        return super().compose_node(parent, index)


def parse_yaml(content: bytes) -> Any:
    """The plain values of a text in YAML; no code in it is executed.

    Raises:
        ValueError: it is no YAML, too large, too deep, or has aliases; one line.
    """
    if len(content) > LARGEST:
        raise ValueError(f"has {len(content)} bytes, at most {LARGEST} are read")
    try:
        return yaml.load(content, _Loader)
    except RecursionError:
        raise ValueError("too many brackets in one another") from None
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:  # dates and numbers that are none
        raise ValueError(" ".join(str(error).split())) from None
