from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.inference.assembly import load_pipeline
from detector.inference.pipeline import DetectionPipeline
from detector.structures.image import read_image

try:
    import httpx
    from fastapi import FastAPI

    from detector.explorer import Explanation, explain
    from detector.explorer.image_cache import ImageCache
    from detector.explorer.page import UPLOAD_TYPE, make_page
    from detector.explorer.server import LOCAL_NAMES
except ImportError:  # a conftest cannot be skipped
    collect_ignore_glob = ["*.py"]


@pytest.fixture(scope="session")
def detector() -> DetectionPipeline:
    """The installed model."""
    return load_pipeline(device="cpu")


@pytest.fixture(scope="session")
def explanation(detector: DetectionPipeline, photos: Path) -> Explanation:
    return explain(detector, read_image(photos / "cat.jpg"))


@pytest.fixture(scope="session")
def image_cache(detector: DetectionPipeline) -> Iterator[ImageCache]:
    image_cache = ImageCache(detector)
    yield image_cache
    image_cache.close()


class Client:
    """Calls a page without a server, as the page's script does."""

    def __init__(self, page: FastAPI) -> None:
        self._transport = httpx.ASGITransport(app=page, raise_app_exceptions=False)

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self("GET", path, **options)

    def open(self, path: str, content: Any = b"") -> httpx.Response:
        return self("POST", path, content=content, headers={"content-type": UPLOAD_TYPE})


@pytest.fixture(scope="session")
def client(image_cache: ImageCache) -> Client:
    """The page; uploads of at most 3 megabytes."""
    return Client(make_page(image_cache, megabytes=3, hosts=LOCAL_NAMES))


@pytest.fixture(scope="session")
def client_of() -> type[Client]:
    """The class, for clients of other pages."""
    return Client
