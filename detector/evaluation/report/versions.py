"""Versions of installed packages, which make a result reproducible."""

from importlib import metadata


def installed_version(package: str) -> str:
    """The version of a package by its name on PyPI, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
