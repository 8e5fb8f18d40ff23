"""Stage `quantize` of recipes that search no lengths, and what the recipe `quantize` has of its own."""

from __future__ import annotations

from typing import Any

from compress.int8.criterion import quantize
from compress.int8.ranges import RANGES_FILE, load_ranges
from compress.recipe.stage import trained_in
from zoo.files import read_json, write_json
from zoo.lengths import ladder


def run(ctx: Any) -> dict[str, Any]:
    """Stage `quantize`: a float checkpoint -> the int8 file, and `configs.json` with the lengths to report on."""
    folder, _ = trained_in(ctx)
    learned = load_ranges(folder / RANGES_FILE) if (folder / RANGES_FILE).is_file() else None
    configs = ladder(read_json(folder / "config.json"), ctx.recipe.budgets)
    ctx.progress.update(0, 1)
    facts = quantize(ctx, folder, configs[1:], learned)
    write_json(ctx.folder / "configs.json", [config.fractions for config in configs])
    ctx.progress.update(1, 1)
    return {**facts, "configurations": len(configs)}
