"""Libraries that a plain installation leaves out."""


def needs_extra(what: str, extra: str) -> str:
    """The message where `what` cannot be done for want of the libraries of an extra (`pyproject.toml`).

    >>> print(needs_extra("the explorer", "explore"))
    the explorer needs the extra 'explore': pip install "inception-rcnn[explore]"
    """
    return f"{what} needs the extra '{extra}': pip install \"inception-rcnn[{extra}]\""
