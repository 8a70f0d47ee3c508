"""The page as a web application. Everything it loads comes from this package."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from detector.errors import InputError
from detector.explorer import panels
from detector.explorer.image_cache import BusyError, ImageCache, Session
from detector.explorer.pictures import fitted
from detector.explorer.rendering import make_controls, templates
from detector.explorer.stages import Explanation
from detector.structures.image import read_image

UPLOAD_TYPE = "application/octet-stream"
"""Content type of requests that open a photo. A page of another site must ask this server before it may send it, and
the server does not allow it."""

_HERE = Path(__file__).parent
_HEADERS = {
    # Whatever gets into the page, the browser loads nothing from elsewhere and runs only the page's own script.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def _session(request: Request, key: str) -> Session:
    session = request.app.state.image_cache.get(key)
    if session is None:
        raise HTTPException(410, "this photo was dropped for newer ones; open it again")
    return session


def _explanation(session: Annotated[Session, Depends(_session)]) -> Explanation:
    return session.explanation


Opened = Annotated[Session, Depends(_session)]
Explained = Annotated[Explanation, Depends(_explanation)]


def make_page(image_cache: ImageCache, megabytes: float = 25, hosts: tuple[str, ...] | None = None) -> FastAPI:
    """The page as an ASGI application.

    Args:
        megabytes: largest upload.
        hosts: accepted host names, so that the name of another site cannot be pointed at the page; None: any.
    """
    environment = templates()

    def render(name: str, **values: Any) -> HTMLResponse:
        return HTMLResponse(environment.get_template(name).render(**values))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        image_cache.close()

    # Without the pages about the API, which load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.image_cache = image_cache
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)

    @app.middleware("http")
    async def with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid_value(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return PlainTextResponse(f"{first['loc'][-1]}: {first['msg']}", 422)

    @app.exception_handler(InputError)
    async def input_error(_: Request, error: InputError) -> Response:
        return PlainTextResponse(str(error), 422)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return PlainTextResponse(error.detail, error.status_code)

    thumbnails = [(path.stem, fitted(read_image(path), side=160)[0]) for path in image_cache.examples]

    @app.get("/")
    def page() -> Response:
        return render("page.html", thumbnails=thumbnails, dataset=image_cache.dataset, megabytes=megabytes)

    async def stages(add: Callable[[], Future[Session]]) -> Response:
        try:
            session = await asyncio.wrap_future(add())
        except BusyError:
            raise HTTPException(503, "too many photos are waiting; try again in a moment") from None
        except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError for lack of memory
            reason = " ".join(str(error).split())[:300] or "not enough memory"
            raise HTTPException(500, f"the photo could not be processed ({reason})") from None
        return render("stages.html", session=session, controls=make_controls(session.explanation), shown=None)

    from_this_page = [Depends(_check_content_type)]

    @app.post("/photos", dependencies=from_this_page)
    async def upload(request: Request, name: str = "photo") -> Response:
        content = await _limited_body(request, megabytes)
        printable = "".join(filter(str.isprintable, name))[:80] or "photo"
        return await stages(lambda: image_cache.add_upload(content, printable))

    @app.post("/examples/{index}", dependencies=from_this_page)
    async def example(index: int) -> Response:
        return await stages(lambda: image_cache.add_example(index))

    @app.post("/samples/{image_id}", dependencies=from_this_page)
    async def sample(image_id: str) -> Response:
        return await stages(lambda: image_cache.add_sample(image_id))

    def add_panel(show: Callable[..., panels.Panel]) -> None:
        def panel(**values: Any) -> Response:
            return render("panel.html", panel=show(**values))

        # The parameters of the request are those of `show`, whose explanation is that of the photo.
        explanation, *values = inspect.signature(show).parameters.values()
        parameters = [explanation.replace(annotation=Explained), *values]
        panel.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.get(f"/photos/{{key}}/{show.__name__.removeprefix('show_')}")(panel)

    for show in panels.PANELS:
        add_panel(show)

    @app.get("/photos/{key}/truth")
    def truth(session: Opened, count: panels.Count, score: panels.Score) -> Response:
        if session.objects is None:
            raise HTTPException(404, "this photo has no annotations")
        return render("panel.html", panel=panels.show_truth(session.explanation, session.objects, count, score))

    return app


def _check_content_type(request: Request) -> None:
    if request.headers.get("content-type") != UPLOAD_TYPE:
        raise HTTPException(415, f"the content type must be {UPLOAD_TYPE}")


async def _limited_body(request: Request, megabytes: float) -> bytes:
    """The body of a request; reading stops at the limit."""
    limit = round(megabytes * 1_000_000)
    too_large = HTTPException(413, f"the file is larger than {megabytes:g} MB; reduce it first")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise too_large
    return bytes(body)
