"""The page, served: settings, options of the command line, and what runs beside the server."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO, cast

# Read when gradio and huggingface_hub are imported: nothing calls home, and nobody rides on this machine's token.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"

# gradio would load the MCP package for all that import it; see `ui.tools`.
sys.modules.setdefault("mcp", None)  # pyright: ignore[reportArgumentType]

import gradio as gr  # noqa: E402

if sys.modules["mcp"] is None:  # pyright: ignore[reportUnnecessaryComparison]
    del sys.modules["mcp"]

from compress.jobs import jobs  # noqa: E402
from ui import tools  # noqa: E402
from ui.desk import Desk  # noqa: E402
from ui.downloads import LINE  # noqa: E402
from ui.explore.tab import warm_up  # noqa: E402
from ui.fair_queue import share_fairly  # noqa: E402
from ui.gate import guarded  # noqa: E402
from ui.page import build as build_page  # noqa: E402
from ui.people import read_only  # noqa: E402
from ui.secret import page_secret  # noqa: E402
from ui.theme import launch_options  # noqa: E402
from zoo import hub  # noqa: E402
from zoo.errors import UserError  # noqa: E402
from zoo.settings import get_settings  # noqa: E402


def build(desk: Desk | None = None) -> gr.Blocks:
    """The whole page, not yet served."""
    return build_page(desk or Desk())


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page on the address of the settings or of the command line, until interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = get_settings()
    except UserError as error:
        raise SystemExit(str(error)) from None
    parser = argparse.ArgumentParser(description="Open the page, and print its address.")
    parser.add_argument("--host", default=settings.host, help="address that it listens on")
    parser.add_argument("--port", type=int, default=settings.port, help="and the port")
    options = parser.parse_args(arguments)
    # Uploads are part of what is written at run time, and all of that lies in one place.
    os.environ.setdefault("GRADIO_TEMP_DIR", str(settings.home / "gradio"))
    hub.admission = LINE.turn
    sys.stdout = cast(TextIO, Unbroken(sys.stdout))
    desk, secret = Desk(), page_secret()
    demo = build(desk)
    demo.queue(max_size=settings.waiting)
    tools.announce(demo)
    share_fairly(demo)
    demo.launch(
        server_name=options.host,
        server_port=options.port,
        ssr_mode=False,
        share=False,
        run_history=False,
        show_error=False,
        footer_links=["api"],
        max_file_size="50mb",
        prevent_thread_lock=True,
        # Gradio would ask itself for the page and give up after three seconds, which a machine with jobs may take.
        _frontend=False,
        app_kwargs={"middleware": guarded(demo, options.host, secret)},
        mcp_server=False,  # at the first call
        **launch_options(secret),
    )
    tools.mount(demo)
    threading.Thread(target=warm_up, args=(desk,), daemon=True, name="warm-up").start()
    if not read_only():
        threading.Thread(target=start_worker, daemon=True, name="start-worker").start()
    demo.block_thread()


class Unbroken:
    """A stream for words that may be lost: the page goes on where they go to a file and its disk is full.

    Args:
        stream: where they go.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def start_worker(every: float = 10.0) -> None:
    """See to it that queued jobs run. The worker is a process of its own: it outlives this one, as jobs should.

    Args:
        every: seconds after which it is tried again where nothing can be written: a full disk may be freed.
    """
    told = ""
    while True:
        try:
            jobs.keep_worker()
            return
        except UserError as error:
            if str(error) != told:
                logging.getLogger(__name__).warning("No jobs will run for now: %s", error)
            told = str(error)
        time.sleep(every)
