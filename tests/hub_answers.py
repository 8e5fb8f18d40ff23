"""Answers of the local Hub that are no success."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import JSONResponse, Response


def error(status: int, code: str, text: str, **headers: str) -> JSONResponse:
    """What the Hub says against a call."""
    return JSONResponse({"error": text}, status, {"X-Error-Code": code, "X-Error-Message": text, **headers})


class Lost(Response):
    """An answer that is never finished: its reader sees the connection break off."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"1000"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": False})


async def befall(fault: Any, retry_after: int) -> Response | None:
    """What a fault makes of a call before anything is done; None where it goes on, perhaps later."""
    if isinstance(fault, float):
        await asyncio.sleep(fault)
    if isinstance(fault, int):
        text = "Too many requests" if fault == 429 else f"Injected {fault}"
        return error(fault, "", text, **({"Retry-After": str(retry_after)} if fault == 429 else {}))
    return Lost() if fault == "gone" else None
