"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_input_is_held_by_a_test():
    """The table of what people bring is of at least 60 inputs, and each names a test that exists."""
    rows = [
        line for line in (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8").splitlines() if "::test_" in line
    ]
    assert len(rows) >= 60
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4 and all(cells), row
        path, _, name = cells[3].strip("` |").partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.M), cells[3]


def test_every_file_of_the_walks_is_there():
    named = re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "walks.md").read_text(encoding="utf-8"))
    assert len(named) > 30 and not [name for name in named if not (ROOT / name).is_file()]
