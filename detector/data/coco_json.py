"""COCO's annotations as they are in their JSON file, before any field is checked.

The file is decoded by msgspec. Its typed decoder builds the few fields that an evaluation needs and only walks over
the rest, above all the polygons of `segmentation`, which are most of such a file. 200 MB of it (377,000 objects) take
0.9 s and 150 MB beside the text; orjson, which builds everything, 5 s and 1.8 GB; ijson, which streams, 6 s. A memory
map would spare the text, but a file that is cut while it is read would end the process.

The fields are decoded as whatever they are, so that whoever checks them finds all faults and not only the first.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, is_pointer
from detector.io.text import strip_bom

#: Bytes up to which a file with NaN in it, which is no JSON, is decoded by Python's slower and larger json module.
_LENIENT_LIMIT = 2**28
_SHOWN_CHARACTERS = 60


class CocoImage(Struct, gc=False):
    """A record of `images`; a field that is missing is UNSET, here and below."""

    id: Any = UNSET
    file_name: Any = UNSET
    width: Any = UNSET
    height: Any = UNSET


class CocoCategory(Struct, gc=False):
    """A record of `categories`."""

    id: Any = UNSET
    name: Any = UNSET


class CocoAnnotation(Struct, gc=False):
    """A record of `annotations`."""

    id: Any = UNSET
    image_id: Any = UNSET
    category_id: Any = UNSET
    bbox: Any = UNSET
    area: Any = UNSET
    iscrowd: Any = UNSET


_Other = list | str | int | float | bool | None


class CocoContent(Struct):
    """The file. What is no list, or no object in a list, is decoded as well, so that it can be named by its place."""

    images: list[CocoImage | _Other] | dict | str | int | float | bool | None = UNSET  # type: ignore[assignment]
    categories: list[CocoCategory | _Other] | dict | str | int | float | bool | None = UNSET  # type: ignore[assignment]
    annotations: list[CocoAnnotation | _Other] | dict | str | int | float | bool | None = UNSET  # type: ignore[assignment]


def decode_coco(path: Path) -> CocoContent:
    """The content of a file or pipe.

    Raises:
        InputError: it cannot be read, is not JSON, or no object such as COCO's annotations are.
    """
    try:
        content = strip_bom(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    start = content[:4096].lstrip()
    if not start:
        raise InputError(f"{path}: is empty, expected COCO annotations in JSON")
    if is_pointer(start):
        raise InputError(f"{path}: {NOT_FETCHED}")
    if start[:1] == b"[":
        hint = ", as a file of results has; give the annotations" if b'"score"' in start else ""
        raise InputError(f"{path}: holds a list{hint}, expected an object with images, categories and annotations")
    try:
        return msgspec.json.decode(content, type=CocoContent)
    except msgspec.ValidationError as error:
        if "out of range" not in str(error):
            raise InputError(f"{path}: {error}; expected an object with images, categories and annotations") from None
        return _decode_leniently(path, content, error)
    except msgspec.DecodeError as error:
        return _decode_leniently(path, content, error)
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is not usable JSON: {error}") from None


def _decode_leniently(path: Path, content: bytes, error: msgspec.DecodeError) -> CocoContent:
    """Decodes what JSON proper is not: NaN and infinities, which many programs write, are then named by record."""
    found = re.search(r"byte (\d+)", str(error))
    place = int(found[1]) if found else 0
    near = content[max(place - 2, 0) : place + 10]
    if (b"NaN" in near or b"Infinity" in near or "out of range" in str(error)) and len(content) <= _LENIENT_LIMIT:
        try:
            return msgspec.convert(json.loads(content), CocoContent)
        except (ValueError, RecursionError):
            pass
    raise InputError(f"{path}: is not JSON: {error}, at {near.decode(errors='replace')!r}") from None


def shown(value: Any) -> str:
    """A value as JSON writes it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=lambda record: "{...}")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
