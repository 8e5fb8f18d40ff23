"""Which files of this program run in a call, and which ones `docs/walks.md` says do."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "walks.md"


def passed(call: Callable[[], T]) -> tuple[T, list[str]]:
    """What a call returns, and the files whose functions it ran, in the order in which it reached them."""
    files: dict[str, None] = {}

    def note(frame: FrameType, event: str, _arg: object) -> None:
        path = Path(frame.f_code.co_filename)
        ours = path.is_relative_to(ROOT) and not path.is_relative_to(Path(sys.prefix))
        if event == "call" and ours and not path.is_relative_to(ROOT / "tests"):
            files.setdefault(path.relative_to(ROOT).as_posix())

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        result = call()
    finally:
        sys.setprofile(before)
    return result, list(files)


def told(title: str) -> list[str]:
    """The files of the walk under this heading of the document, in their order."""
    _, _, text = DOCUMENT.read_text(encoding="utf-8").partition(f"\n## {title}\n")
    return re.findall(r"^\| `([\w/.]+)` \|", text.partition("\n## ")[0], re.M)
