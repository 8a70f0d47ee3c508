"""YAML from anywhere."""

import pytest

from detector.io.yaml import parse_yaml


def test_plain_values_come_back():
    assert parse_yaml(b"a: [1, 2.5, x]\nb: {c: null}\n") == {"a": [1, 2.5, "x"], "b": {"c": None}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "while parsing"),
        (b"\xff", "invalid"),
        (b"a: &x [1]\nb: *x\n", r"aliases \(\*x\) are not read; write the value itself"),
        (b"a: !!python/object/apply:os.mkdir [x]\n", "could not determine a constructor"),
        (b"[" * 5000, "too many brackets in one another"),
        (b"a: 2001-99-99", "month must be in 1..12"),
        (b"a: " + b"9" * 5000, "integer string conversion"),
        (b"#" * (2**20 + 1), "has 1048577 bytes, at most 1048576 are read"),
    ],
)
def test_what_is_none_is_refused_in_one_line(content: bytes, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        parse_yaml(content)
    assert "\n" not in str(caught.value)
