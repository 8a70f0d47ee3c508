"""Libraries that a plain installation leaves out."""

from pathlib import Path


def needs_extra(what: str, extra: str) -> str:
    """The message where `what` cannot be done for want of the libraries of an extra (`pyproject.toml`).

    The package is on no index: pip takes a checkout by its folder, and an installed package as it is.
    """
    root = Path(__file__).parents[1]
    source = f'-e "{root}[{extra}]"' if (root / "pyproject.toml").is_file() else f'"inception-rcnn[{extra}]"'
    return f"{what} needs the extra '{extra}': pip install {source}"
