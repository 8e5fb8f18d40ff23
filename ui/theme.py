"""How the page looks: fonts of the system, so that nothing is fetched from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gradio.themes import Base

HERE = Path(__file__).parent
SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Consolas", "Noto Sans Mono", "monospace")


def make_theme() -> Any:
    """A calm theme: teal for what can be moved, amber for answers (in style.css)."""
    return Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="#0b1118",
        block_background_fill="white",
        block_background_fill_dark="#121a24",
        block_border_color="*neutral_200",
        block_border_color_dark="#223041",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        # Small grey text reads at 5.5:1 or more, on cards, tinted boxes and the page itself.
        body_text_color_subdued="#556277",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*body_text_color_subdued",
        block_info_text_color_dark="*body_text_color_subdued",
        input_placeholder_color="#64748b",
        input_placeholder_color_dark="#8b9bb0",
        block_label_text_color="*body_text_color_subdued",
        block_label_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        block_title_text_weight="600",
        input_background_fill="white",
        input_background_fill_dark="#0e151e",
        input_border_color="*neutral_300",
        input_border_color_dark="#2a3a4e",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )


def launch_options(secret: str) -> dict[str, Any]:
    """What `Blocks.launch` needs for this look, and for the page to carry its `secret`, see `ui.secret`."""
    script = (HERE / "page.js").read_text(encoding="utf-8") + f"budgetZoo.carry({json.dumps(secret)});"
    return {
        "theme": make_theme(),
        "css_paths": [HERE / "style.css"],
        "head": f"<script>{script}</script>",
        "js": "() => budgetZoo.start()",
    }
