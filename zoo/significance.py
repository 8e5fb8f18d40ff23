"""How layers that drop tokens rank them: by the attention that each receives, or by what a scorer learned.

What is said of it in configurations alone, which needs no torch; the scorer itself is in `zoo.scorer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEY = "length_drop_significance"  # in a checkpoint's config.json: LEARNED, or absent
LEARNED = "learned"
NAME = "significance"  # begins the names of a scorer's weights
VECTORS = ("asks", "own", "met", "own_asked", "met_asked")  # which these are


def is_learned(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint ranks tokens by scorers that it learned, and not by the attention that they receive."""
    return config.get(KEY) == LEARNED
