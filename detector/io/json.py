"""JSON files that are either complete or absent."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from detector.errors import InputError
from proposals.files import atomic_write


@contextmanager
def _write_text(path: Path) -> Iterator[TextIO]:
    try:
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_json_lines(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Writes a JSON list with one entry a line, for people and for line tools.

    Raises:
        InputError: the file cannot be written.
    """
    with _write_text(path) as file:
        start = "[\n"
        for entry in entries:
            file.write(start + json.dumps(entry))
            start = ",\n"
        file.write("[]\n" if start == "[\n" else "\n]\n")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes an object as indented JSON.

    Raises:
        InputError: the file cannot be written.
    """
    with _write_text(path) as file:
        file.write(json.dumps(content, indent=2) + "\n")
