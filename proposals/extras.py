"""Optional dependencies."""

from pathlib import Path


def needs_extra(what: str, extra: str) -> str:
    """Returns the message that `what` needs an extra of pyproject.toml, with the command to install it.

    The package is not published on an index, so in a checkout the command names the folder.
    """
    root = Path(__file__).parents[1]
    if (root / "pyproject.toml").is_file():
        source = f'-e "{root}[{extra}]"'
    else:  # installed with the detector, or alone
        source = f'"inception-rcnn{"" if (root / "detector").is_dir() else "-proposals"}[{extra}]"'
    return f"{what} needs the extra '{extra}': pip install {source}"
