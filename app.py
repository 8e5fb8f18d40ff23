"""Budget Zoo: `python app.py`, then open the address that it prints."""

from __future__ import annotations

import argparse
import logging
import os
import threading

# Read when gradio and huggingface_hub are imported: nothing calls home, and nobody rides on this machine's token.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"

import gradio as gr  # noqa: E402

from ui.explore import build_explore, warm_up  # noqa: E402
from ui.session import Desk  # noqa: E402
from ui.theme import launch_options  # noqa: E402
from zoo.errors import UserError  # noqa: E402
from zoo.settings import get_settings  # noqa: E402


def build(desk: Desk | None = None) -> gr.Blocks:
    """The whole page, not yet served."""
    with gr.Blocks(title="Budget Zoo", analytics_enabled=False) as demo:
        build_explore(demo, desk or Desk())
    return demo


def main() -> None:
    """Serve the page on the address of the settings or of the command line, until interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = get_settings()
    except UserError as error:
        raise SystemExit(str(error)) from None
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=settings.host)
    parser.add_argument("--port", type=int, default=settings.port)
    options = parser.parse_args()
    desk = Desk()
    demo = build(desk)
    demo.queue(max_size=64)
    demo.launch(
        server_name=options.host,
        server_port=options.port,
        ssr_mode=False,
        share=False,
        run_history=False,
        show_error=False,
        footer_links=["api"],
        max_file_size="1mb",
        prevent_thread_lock=True,
        **launch_options(),
    )
    threading.Thread(target=warm_up, args=(desk,), daemon=True, name="warm-up").start()
    demo.block_thread()


if __name__ == "__main__":
    main()
