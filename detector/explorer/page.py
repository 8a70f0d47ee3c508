"""The page: what the browser asks for, and what it gets. All of it comes from this package, nothing from elsewhere."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import jinja2
import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from detector.errors import InputError
from detector.explorer import panels
from detector.explorer.controls import Controls
from detector.explorer.image_cache import BusyError, ImageCache, Session
from detector.explorer.pictures import encoded, thumbnail
from detector.structures.image import read_image

_HERE = Path(__file__).parent

_HEADERS = {
    # Whatever the page may come to hold, the browser loads nothing from elsewhere and runs no script but the page's.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

UPLOAD_TYPE = "application/octet-stream"
"""Content type of all that opens a photo: another site's page cannot send it without asking this server first, which
does not allow it."""

Score = Annotated[float, Query(ge=0.01, le=1)]
Count = Annotated[int, Query(ge=1, le=1_000_000)]
Part = Annotated[float | None, Query(ge=0, le=1)]


def make_page(image_cache: ImageCache, megabytes: float = 25, hosts: tuple[str, ...] | None = None) -> FastAPI:
    """The page as an ASGI application.

    Args:
        image_cache: explains and keeps the photos.
        megabytes: largest upload.
        hosts: names by which the page may be called, so that no other site's name can be pointed at it; None: any.
    """
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters["source"] = _data_url
    templates.filters["duration"] = panels.duration_text

    def render(name: str, **values: Any) -> HTMLResponse:
        return HTMLResponse(templates.get_template(name).render(**values))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        yield
        image_cache.close()

    # No pages about the interface: they load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)

    @app.middleware("http")
    async def with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(RequestValidationError)
    async def _wrong_value(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return PlainTextResponse(f"{first['loc'][-1]}: {first['msg']}", 422)

    @app.exception_handler(InputError)
    async def _unusable(_: Request, error: InputError) -> Response:
        return PlainTextResponse(str(error), 422)

    @app.exception_handler(HTTPException)
    async def _refused(_: Request, error: HTTPException) -> Response:
        return PlainTextResponse(error.detail, error.status_code)

    thumbnails = [(path.stem, thumbnail(read_image(path))) for path in image_cache.examples]

    @app.get("/")
    def page() -> Response:
        return render("page.html", thumbnails=thumbnails, dataset=image_cache.dataset, megabytes=megabytes)

    async def shown(add: Callable[[], Future[Session]]) -> Response:
        try:
            session = await asyncio.wrap_future(add())
        except BusyError:
            raise HTTPException(503, "too many photos are waiting; try again in a moment") from None
        except (MemoryError, RuntimeError) as error:  # torch has RuntimeError for a lack of memory
            reason = " ".join(str(error).split())[:300] or "not enough memory"
            raise HTTPException(500, f"the photo could not be processed ({reason})") from None
        return render("stages.html", session=session, controls=Controls.of(session))

    own = [Depends(_from_the_page)]

    @app.post("/photos", dependencies=own)
    async def upload(request: Request, name: str = "photo") -> Response:
        content = await _limited_body(request, round(megabytes * 1_000_000), megabytes)
        return await shown(lambda: image_cache.add_upload(content, _clean(name)))

    @app.post("/examples/{index}", dependencies=own)
    async def example(index: int) -> Response:
        return await shown(lambda: image_cache.add_example(index))

    @app.post("/samples/{image_id}", dependencies=own)
    async def sample(image_id: str) -> Response:
        return await shown(lambda: image_cache.add_sample(image_id))

    def exhibit_of(key: str) -> Session:
        session = image_cache.get(key)
        if session is None:
            raise HTTPException(410, "this photo was put away for newer ones; open it again")
        return session

    def panel(shown: panels.Panel) -> Response:
        return render("panel.html", panel=shown)

    @app.get("/photos/{key}/segmentation")
    def segmentation(key: str, k: float) -> Response:
        explanation = exhibit_of(key).explanation
        return panel(panels.show_segmentation(explanation, k))

    @app.get("/photos/{key}/levels")
    def levels(key: str, space: str, similarity: str, k: float, count: Count) -> Response:
        explanation = exhibit_of(key).explanation
        return panel(panels.show_levels(explanation, explanation.grouping(space, similarity, k), count))

    @app.get("/photos/{key}/proposals")
    def proposals(key: str, count: Count, source: int = -1) -> Response:
        explanation = exhibit_of(key).explanation
        return panel(panels.show_proposals(explanation, count, None if source < 0 else source))

    @app.get("/photos/{key}/region")
    def region(key: str, region: int, label: int = -1, x: Part = None, y: Part = None) -> Response:
        explanation = exhibit_of(key).explanation
        point = None if x is None or y is None else (x, y)
        return panel(panels.show_region(explanation, region, None if label < 0 else label, point))

    @app.get("/photos/{key}/regression")
    def regression(key: str, score: Score) -> Response:
        return panel(panels.show_regression(exhibit_of(key).explanation, score))

    @app.get("/photos/{key}/suppression")
    def suppression(key: str, score: Score, iou: Annotated[float, Query(ge=0, le=1)], voting: bool = False) -> Response:
        return panel(panels.show_suppression(exhibit_of(key).explanation, score, iou, voting))

    @app.get("/photos/{key}/detections")
    def detections(key: str, score: Score) -> Response:
        return panel(panels.show_detections(exhibit_of(key).explanation, score))

    @app.get("/photos/{key}/truth")
    def truth(key: str, count: Count, score: Score) -> Response:
        session = exhibit_of(key)
        if session.objects is None:
            raise HTTPException(404, "nothing is annotated in this photo")
        return panel(panels.show_truth(session.explanation, session.objects, count, score))

    return app


def _from_the_page(request: Request) -> None:
    if request.headers.get("content-type") != UPLOAD_TYPE:
        raise HTTPException(415, f"the content type has to be {UPLOAD_TYPE}")


async def _limited_body(request: Request, limit: int, megabytes: float) -> bytes:
    """The body of a request; a longer one is not read to its end."""
    too_large = HTTPException(413, f"the file is larger than {megabytes:g} MB; make it smaller first")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def _clean(name: str) -> str:
    """A file's name for messages: one line of bounded length."""
    return "".join(letter for letter in name if letter.isprintable())[:80] or "photo"


def _data_url(pixels: np.ndarray) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encoded(pixels)).decode()
