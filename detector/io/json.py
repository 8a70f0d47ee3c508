"""JSON files that are either complete or absent; each writer raises InputError if it cannot write."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detector.io.text import write_text


def write_json_lines(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Writes a JSON list with one entry a line, for people and for line tools."""
    with write_text(path) as file:
        start = "[\n"
        for entry in entries:
            file.write(start + json.dumps(entry))
            start = ",\n"
        file.write("[]\n" if start == "[\n" else "\n]\n")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes an object as indented JSON."""
    with write_text(path) as file:
        file.write(json.dumps(content, indent=2) + "\n")
