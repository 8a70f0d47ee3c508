import pytest

from detector.io.yaml import LARGEST, parse_yaml


def test_plain_values():
    assert parse_yaml(b"a: [1, 2.5, x]\nb: {c: null}\n") == {"a": [1, 2.5, "x"], "b": {"c": None}}


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (b"a: [", "line 1"),
        (b"\xff", "start byte"),
        (b"a: &x [1]\nb: *x\n", r"\*x"),
        (b"a: !!python/object/apply:os.mkdir [x]\n", "os.mkdir"),
        (b"[" * 5000, "deep"),
        (b"a: 2001-99-99", "month"),
        (b"a: " + b"9" * 5000, "integer"),
        (b"#" * (LARGEST + 1), str(LARGEST)),
    ],
)
def test_bad_yaml_is_one_line(content: bytes, pattern: str):
    with pytest.raises(ValueError, match=pattern) as caught:
        parse_yaml(content)
    assert "\n" not in str(caught.value)
