"""JSON files that are either complete or absent."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detector.errors import InputError
from proposals.files import atomic_write


def write_json_lines(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Writes a JSON list with one entry a line, readable by eye and with line tools.

    Raises `InputError` if that fails.
    """
    try:
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            start = "[\n"
            for entry in entries:
                file.write(start + json.dumps(entry))
                start = ",\n"
            file.write("[]\n" if start == "[\n" else "\n]\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a result as indented JSON. Raises `InputError` if that fails."""
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
