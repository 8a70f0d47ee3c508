"""Serves the page on a port of this machine."""

import os
import socket
from collections.abc import Callable

import uvicorn

from detector.data import VOCDataset
from detector.errors import InputError
from detector.explorer.image_cache import ImageCache
from detector.explorer.page import make_page
from detector.inference.pipeline import DetectionPipeline

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""
LOCAL_NAMES = (*LOCAL, "[::1]")
"""Host names in the browser's requests to these addresses."""


def serve(
    detector: DetectionPipeline,
    host: str = "127.0.0.1",
    port: int = 7860,
    dataset: VOCDataset | None = None,
    megabytes: float = 25,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serves the explorer until it is interrupted.

    Args:
        host: address to listen on; any other than `LOCAL` admits other machines.
        port: 0 picks a free one.
        dataset: visitors may choose its images.
        megabytes: largest upload.
        ready: called with the page's URL once it can be opened.

    Raises:
        InputError: the server cannot listen on the address.
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
    with listening:
        if ready is not None:
            ready(f"http://{name}:{listening.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: the host is not an address of this machine, or the port cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(f"--host {host}: not an address of this machine ({error.strerror or error})") from None
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise InputError(
            f"--host {host} --port {port}: cannot be used ({reason}); give another port, or 0 for any"
        ) from None
