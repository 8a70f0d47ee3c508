"""Serves the page on a port of this machine."""

import socket
from collections.abc import Callable

import uvicorn

from detector.data import VOCDataset
from detector.errors import InputError
from detector.explorer.image_cache import ImageCache
from detector.explorer.page import make_page
from detector.inference.detector import Detector

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""

LOCAL_NAMES = (*LOCAL, "[::1]")
"""What the browser calls this machine then."""


def serve(
    detector: Detector,
    host: str = "127.0.0.1",
    port: int = 7860,
    dataset: VOCDataset | None = None,
    megabytes: float = 25,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serves the explorer until it is interrupted.

    Args:
        host: address to listen on; another than `LOCAL` lets other machines in.
        port: 0 takes any free one.
        dataset: from which visitors may choose images.
        megabytes: largest upload.
        ready: is called with the page's address once it can be opened.

    Raises:
        InputError: the address cannot be listened on.
    """
    listening = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    page = make_page(ImageCache(detector, dataset), megabytes, LOCAL_NAMES if host in LOCAL else None)
    config = uvicorn.Config(
        page,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=64,  # each may hold an upload
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    with listening:
        if ready is not None:
            ready(f"http://{name}:{listening.getsockname()[1]}/")
        server.run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; raises InputError, one line, if it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"--host {host}: is no address of this machine ({error.strerror or error})") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        raise InputError(
            f"--host {host} --port {port}: cannot be used ({error.strerror or error}); give another port, or 0 for any"
        ) from None
    return listening
