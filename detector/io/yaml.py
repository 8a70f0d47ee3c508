"""Untrusted YAML, parsed to plain values."""

from typing import Any

import yaml

LARGEST = 2**20
"""Limit of a file in bytes; data set descriptions and recipes have a few thousand."""


class _Loader(yaml.SafeLoader):
    """Refuses aliases: a few lines of them can expand to more values than fit in memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*{self.peek_event().anchor}) are not supported; write the value itself")
        return super().compose_node(parent, index)


def parse_yaml(content: bytes) -> Any:
    """Parses YAML to plain values; executes no code.

    Raises:
        ValueError: the content is invalid, too large, nested too deeply, or uses aliases; the message is one line.
    """
    if len(content) > LARGEST:
        raise ValueError(f"has {len(content)} bytes; the limit is {LARGEST}")
    try:
        return yaml.load(content, _Loader)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
    # PyYAML raises the others for malformed dates and numbers.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(" ".join(str(error).split())) from None
