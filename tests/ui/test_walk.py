"""The way of a question through the house is short enough to be read at one sitting."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

from ui.desk import Desk
from zoo import catalog

ROOT = Path(__file__).parents[2]
BEFORE = {"ui/explore/running.py", "ui/explore/selection.py"}  # the handler, and what it reads of the page
WALK = {
    *BEFORE, "ui/desk.py", "zoo/ask.py", "zoo/features.py", "zoo/opened.py", "zoo/engines/base.py",
    "zoo/engines/openvino.py", "zoo/lengths.py", "zoo/answers.py",
}  # fmt: skip


def test_a_question_passes_ten_files():
    """Those that run between the handler and the answer, by the interpreter's own account, once a model is open."""
    desk, entry = Desk(), catalog.find("minilm-l6-qa-length-adaptive-int8")
    assert entry.front is not None
    config = entry.front.at("macs", 50.0).point.config
    example = catalog.examples()[0]
    passed = set[str]()

    def note(frame: FrameType, event: str, _arg: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT) and not path.is_relative_to(Path(sys.prefix)):
            passed.add(path.relative_to(ROOT).as_posix())

    desk.ask(entry, "openvino", example["question"], example["context"], config)
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        reply = desk.ask(entry, "openvino", example["question"], example["context"], config)
    finally:
        sys.setprofile(before)
    assert reply.words and BEFORE | passed == WALK and len(WALK) <= 10
