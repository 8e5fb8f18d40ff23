"""The way of a question through the house is short enough to be read at one sitting."""

from __future__ import annotations

from tests.walk_kit import passed, told
from ui.desk import Desk
from zoo import catalog

BEFORE = ["ui/explore/running.py", "ui/explore/selection.py"]  # the handler, and what it reads of the page
GUARD = "zoo/errors.py"  # around the calls of libraries, it makes sentences of their errors: no step of the way
WALK = [
    *BEFORE, "ui/desk.py", "zoo/ask.py", "zoo/features.py", "zoo/opened.py", "zoo/lengths.py", "zoo/engines/base.py",
    "zoo/engines/openvino.py", "zoo/answers.py",
]  # fmt: skip


def test_a_question_passes_ten_files():
    """Those that run between the handler and the answer, by the interpreter's own account, once a model is open."""
    desk, entry = Desk(), catalog.find("minilm-l6-qa-length-adaptive-int8")
    assert entry.front is not None
    config = entry.front.at("macs", 50.0).point.config
    example = catalog.examples()[0]

    def ask():
        return desk.ask(entry, "openvino", example["question"], example["context"], config)

    ask()
    reply, files = passed(ask)
    files = [file for file in files if file != GUARD]
    assert reply.words and BEFORE + files == WALK and len(WALK) <= 10


def test_the_document_tells_this_walk():
    assert told("A question") == WALK
