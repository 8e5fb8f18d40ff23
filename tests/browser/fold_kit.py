"""Folds of the Explore tab, which are closed when the page opens."""

from __future__ import annotations

from typing import Any

MODEL, UNITS = "model-fold", "budget-fold"


def unfold(page: Any, fold: str = MODEL) -> None:
    """Open one of them, unless it is open already."""
    button = page.locator(f"#{fold} > button.label-wrap")
    if "open" not in (button.get_attribute("class") or "").split():
        button.click()
