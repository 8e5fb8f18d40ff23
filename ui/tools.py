"""The named endpoints as MCP tools: gradio's server of them, made by its first caller, with typed results.

`import mcp` takes a quarter as long as `import gradio`: the page does without until somebody wants a tool.
"""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from importlib.util import find_spec

import gradio as gr
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)
PATH = "/gradio_api/mcp"  # where gradio has it, and clients look for it


def announce(demo: gr.Blocks) -> None:
    """Let the page say that it has tools; before it is launched."""
    demo.mcp_server = find_spec("mcp") is not None


def mount(demo: gr.Blocks) -> None:
    """Serve the tools beside a launched page; without the package `mcp` there are none, which the log says."""
    if not demo.mcp_server:
        log.info("No MCP tools: install the package mcp to have the page's endpoints as tools.")
        return
    demo.app.router.routes.insert(0, Mount(PATH, app=Tools(demo)))


class Tools:
    """An ASGI app that makes gradio's MCP server when somebody first calls."""

    def __init__(self, demo: gr.Blocks):
        self._demo, self._lock = demo, asyncio.Lock()
        self._served: Starlette | None = None
        self._session: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        if self._served is None:
            async with self._lock:
                try:
                    self._served = self._served or await self._open()
                except ImportError as error:
                    log.exception("The MCP tools cannot be served")
                    return await PlainTextResponse(f"No MCP tools: {error}", 503)(scope, receive, send)
        await self._served(scope, receive, send)

    async def _open(self) -> Starlette:
        server = await asyncio.to_thread(lambda: import_module("ui.typed_tools").TypedTools(self._demo))
        served, ready = Starlette(), asyncio.Event()
        server.launch_mcp_on_sse(served, "", self._demo.root_path)

        async def hold() -> None:
            # Entered and left by one task, as the sessions' task group wants it; it ends with the server's loop.
            async with server.manager.run():
                ready.set()
                await asyncio.Event().wait()

        self._session = asyncio.create_task(hold())
        await ready.wait()
        return served
