"""Structured mutation: damage that gets past a format's outer checks.

Bytes are flipped, cut, repeated, inserted and overwritten with extreme lengths; texts are changed by tokens; containers
(zip, PNG, safetensors, npy) are taken apart, changed in one part, and put together again with correct checksums.
"""

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePath

_NUMBERS = ("0", "-1", "1", "1e309", "-1e309", "NaN", "Infinity", "-Infinity", "1e-320", "4294967296", "-2147483649",
            "9223372036854775808", "9" * 400, "9" * 5000, "0x7fffffff", "1_0", "0.1e1", "-0", "1:1:1")  # fmt: skip
_WORDS = ("", "null", "true", '""', "{}", "[]", "../../x", "/etc/passwd", "\x00", "\ud7ff", "é" * 50, "a" * 70_000,
          "*a", "&a x", "!!python/name:os.system", "!!binary x", "<<: *a", "2001-99-99", "---", "...", "? ", "=",
          "<!DOCTYPE a>", "<![CDATA[x]]>", "&#0;", "&amp;", "<a>", "</annotation>", "%", "|", "\t", "\r\n",
          "\\u0000", "\\ud800", '"\\ud800"', "[" * 100_000, "{" * 5000, '{"a":' * 3000, "<a>" * 30_000, "- " * 3000,
          "(" * 500, "\ufeff", "\x85", "nan", "inf", "1 2 3 4 5 6 7")  # fmt: skip
_TOKEN = re.compile(rb"[A-Za-z_]+|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\s+|[^\w\s]")
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1, 100_000)

Mutation = Callable[[random.Random, bytes], bytes]


def mutate(chance: random.Random, content: bytes, name: str, others: list[bytes]) -> bytes:
    """`content`, the file `name`, changed in one to four places; `others` are spliced in."""
    suffix = PurePath(name).suffix.lower()
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        structured = _STRUCTURED.get(suffix)
        if structured is not None and chance.random() < 0.75:
            try:
                content = structured(chance, content)
                continue
            except (ValueError, KeyError, IndexError, struct.error, zipfile.BadZipFile, zlib.error, EOFError,
                    OverflowError, NotImplementedError, RuntimeError):  # fmt: skip
                pass  # an earlier change has broken its structure
        if suffix in _TEXTS and chance.random() < 0.7:
            content = _text(chance, content)
        elif chance.random() < 0.1:
            other = chance.choice(others)
            content = content[: chance.randrange(len(content) + 1)] + other[chance.randrange(len(other) + 1) :]
        else:
            content = _bytes(chance, content)
    return content


def _bytes(chance: random.Random, content: bytes) -> bytes:
    """Bits flipped, an extreme length or count written over, a part cut off, removed, repeated or put in."""
    start = chance.randrange(len(content) + 1)
    match chance.choice(("flip", "flip", "write", "write", "write", "cut", "remove", "repeat", "insert")):
        case "flip":
            return _flip(chance, content)
        case "write":
            size, order = chance.choice((1, 2, 2, 4, 4, 8)), chance.choice(("little", "big"))
            value = chance.choice((*_EXTREMES, chance.getrandbits(8 * size))) & (1 << 8 * size) - 1
            place = _place(chance, len(content) + 1)
            return content[:place] + value.to_bytes(size, order) + content[place + size :]  # type: ignore[arg-type]
        case "cut":
            return content[:start]
        case "remove":
            return content[:start] + content[start + chance.choice((1, 2, 4, 16, 256)) :]
        case "repeat":
            part = content[start : start + chance.choice((1, 8, 64, 1024))]
            return content[:start] + part * chance.choice((2, 2, 10, 100)) + content[start:]
    place = _place(chance, len(content) + 1)
    return content[:place] + chance.randbytes(chance.choice((1, 4, 64))) + content[place:]


def _flip(chance: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64)) if changed else 0):
        changed[_place(chance, len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _place(chance: random.Random, size: int) -> int:
    """Headers are at the start, and some at the end."""
    kind = chance.random()
    if kind < 0.4:
        return chance.randrange(min(size, 128))
    return chance.randrange(max(0, size - 128), size) if kind < 0.5 else chance.randrange(size)


def _text(chance: random.Random, content: bytes) -> bytes:
    tokens = _TOKEN.findall(content) or [b""]
    place = chance.randrange(len(tokens))
    kind = chance.randrange(7)
    if kind <= 2:
        numbers = [i for i, token in enumerate(tokens) if token[-1:].isdigit()]
        place = chance.choice(numbers) if numbers else place
        tokens[place] = chance.choice(_NUMBERS).encode()
    elif kind == 3:
        tokens[place] = chance.choice(_WORDS).encode()
    elif kind == 4:
        del tokens[place : place + chance.choice((1, 1, 3, 20))]
    elif kind == 5:
        other = chance.randrange(len(tokens))
        tokens[place], tokens[other] = tokens[other], tokens[place]
    else:
        tokens[place:place] = tokens[place : place + chance.choice((1, 5, 40))] * chance.choice((1, 1, 50))
    return b"".join(tokens)


def _zip(chance: random.Random, content: bytes) -> bytes:
    """One member changed, or renamed, or there twice."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()[:200]]
    place = chance.randrange(len(members))
    name, part = members[place]
    kind = chance.random()
    if kind < 0.8:
        members[place] = (name, mutate(chance, part, name, [one for _, one in members]))
    elif kind < 0.9:
        members[place] = (chance.choice(("../x", "/x", "", "a" * 300, name + "/", "x\x00y", members[0][0])), part)
    else:
        members.append(members[chance.randrange(len(members))])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, part in members:
            archive.writestr(zipfile.ZipInfo(name), part)
    return packed.getvalue()


_MOST_ROWS = 1 << 26  # changed again and again, a bomb would fill the memory of this process


def _png(chance: random.Random, content: bytes) -> bytes:
    """One chunk changed, its length and checksum right."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    place = chance.randrange(len(chunks))
    kind, data = chunks[place]
    if chance.random() < 0.2:
        chunks.insert(place, chance.choice(chunks))
    elif kind == b"IDAT" and chance.random() < 0.5:
        rows = zlib.decompressobj().decompress(data, _MOST_ROWS)
        repeated = chance.choice((1, 1, 100))
        chunks[place] = (kind, zlib.compress((_flip(chance, rows) * repeated)[:_MOST_ROWS]))
    else:
        chunks[place] = (kind, _bytes(chance, data))
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + b"".join(parts)


def _safetensors(chance: random.Random, content: bytes) -> bytes:
    """The header changed by tokens, its length right; or the texts inside it."""
    size = int.from_bytes(content[:8], "little")
    header, body = content[8 : 8 + size], content[8 + size :]
    if chance.random() < 0.6:
        values = json.loads(header)
        texts = values["__metadata__"]
        key = chance.choice(sorted(texts))
        texts[key] = _text(chance, texts[key].encode()).decode("utf-8", "replace")
        header = json.dumps(values).encode()
    elif chance.random() < 0.3:
        place = chance.randrange(0, len(body) - 1, 2)
        body = body[:place] + chance.choice((b"\x00\x7e", b"\x00\x7c", b"\x00\xfc")) + body[place + 2 :]  # NaN, inf
    else:
        header = _text(chance, header)
    return len(header).to_bytes(8, "little") + header + body


def _npy(chance: random.Random, content: bytes) -> bytes:
    """The header changed by tokens, its length right."""
    size = int.from_bytes(content[8:10], "little")
    header = _text(chance, content[10 : 10 + size])[:60_000]
    return content[:8] + len(header).to_bytes(2, "little") + header + content[10 + size :]


_TEXTS = {".json", ".jsonl", ".yaml", ".xml", ".txt", ".csv"}
_STRUCTURED: dict[str, Mutation] = {
    ".zip": _zip, ".npz": _zip, ".pt": _zip, ".png": _png, ".safetensors": _safetensors, ".npy": _npy,
}  # fmt: skip
