"""The web application: one page, and what it asks for. Nothing of it is for other machines, or for pages of other sites."""

import asyncio
import base64
import hashlib
import pathlib
import re

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

HOST = "127.0.0.1"
UPLOADS = 8  # that are received at once
PATIENCE = 30  # seconds that one may take
_HERE = ("same-origin", "none")  # what browsers say of requests by the page itself, and of those that no page makes


def make_app(model):
    """The application around a `demo.model.Model`.

    GET / is the page, GET /health what `Model.about` returns with status "ok", GET /thumbnails/INDEX a PNG of a training image.
    POST /classify takes an image file's bytes as its body, and gives what `Model.classify` returns; 413 for more than
    `model.max_bytes` of them, however long the body would go on; 408 and 503 where uploads are slow or many; 403 for other sites.
    Any Host but 127.0.0.1 and localhost is refused with 400, since a name of someone else's may point here.

    Returns:
      A FastAPI application.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # their pages would load from elsewhere
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)
    page = pathlib.Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    headers, receiving = _headers(page), []

    @app.middleware("http")
    async def add_headers(request, call_next):
        response = await call_next(request)
        response.headers.update(headers)
        return response

    @app.get("/")
    def show():
        return HTMLResponse(page)

    @app.get("/health")
    def health():
        return {"status": "ok", **model.about()}

    @app.get("/thumbnails/{index}")
    def thumbnail(index: int):
        try:
            return Response(model.thumbnail(index), media_type="image/png")
        except IndexError:
            raise HTTPException(404, "there is no such training image") from None

    @app.post("/classify")
    async def classify(request: Request):
        if request.headers.get("sec-fetch-site", "none") not in _HERE:
            raise HTTPException(403, "images are taken from this page alone")
        if len(receiving) >= UPLOADS:
            raise HTTPException(503, f"at most {UPLOADS} images are received at once; try again")
        receiving.append(request)
        try:
            content = await asyncio.wait_for(_receive(request, model.max_bytes), PATIENCE)
            return await run_in_threadpool(model.classify, content)
        except asyncio.TimeoutError:
            raise HTTPException(408, f"an image must arrive within {PATIENCE} seconds") from None
        except ClientDisconnect:
            raise HTTPException(400, "an image must arrive whole") from None  # nobody hears it; the log need not either
        finally:
            receiving.remove(request)

    return app


async def _receive(request, most):
    """The body, bytes; given up as soon as it is known to be too large."""
    too_large = HTTPException(413, f"an image must have at most {most:,} bytes")
    if int(request.headers.get("content-length", 0)) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > most:
            raise too_large
        body += chunk
    return bytes(body)


def _headers(page):
    """What browsers are told of every answer: only the page's own script and style run, and everything comes from here."""
    script, style = (_hash(re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]) for tag in ("script", "style"))
    policy = {
        "default-src": "'none'",
        "script-src": script,
        "style-src": style,
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def _hash(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
