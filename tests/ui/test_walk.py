"""The way of a question through the house is short enough to be read at one sitting."""

from __future__ import annotations

import re

import pytest

from tests.ui.page_kit import Driver, visitor
from tests.walk_kit import DOCUMENT, passed, told
from ui.desk import Desk
from zoo import catalog

MODEL, ENGINE = "minilm-l6-qa-length-adaptive-int8", "openvino"
BEFORE = ["ui/explore/running.py", "ui/explore/selection.py"]  # the handler, and what it reads of the page
WALK = [
    *BEFORE, "ui/desk.py", "zoo/ask.py", "zoo/features.py", "zoo/opened.py", "zoo/lengths.py", "zoo/engines/base.py",
    "zoo/engines/openvino.py", "zoo/answers.py",
]  # fmt: skip
BESIDE = ["ui/people.py", "zoo/settings.py", "ui/budget.py", "zoo/errors.py"]  # run on the way, and see no question


class Answered(BaseException):
    """Ends the event where the reply is there; no handler catches it."""


@pytest.fixture
def example() -> dict[str, str]:
    return catalog.examples()[0]


def test_from_the_handler_to_the_reply_only_the_files_of_the_document_run(built, example, monkeypatch):
    """Every file that runs, by the interpreter's own account, once a model is open; after it, only showing is left."""
    handler = built.explore.running
    texts = {"question": example["question"], "passage": example["context"]}
    values = {"model": MODEL, "engine": ENGINE, "unit": "macs", "slider": 50.0, **texts}
    ask, driver = handler.desk.ask, Driver(built.demo, built.explore.parts, values)

    def ask_and_end(*args):
        raise Answered(ask(*args).words)

    def walk() -> str:
        with pytest.raises(Answered) as said:
            list(handler.run(driver.values(handler.run), visitor()))
        return str(said.value)

    monkeypatch.setattr(handler.desk, "ask", ask_and_end)
    words = walk()  # opens the model
    again, files = passed(walk)
    assert again == words and files[:2] == BEFORE
    assert sorted(files) == sorted(WALK + BESIDE)


def test_a_question_passes_ten_files_in_the_order_of_the_document(example):
    desk, entry = Desk(), catalog.find(MODEL)
    assert entry.front is not None
    config = entry.front.at("macs", 50.0).point.config

    def ask():
        return desk.ask(entry, ENGINE, example["question"], example["context"], config)

    ask()
    reply, files = passed(ask)
    assert reply.words and BEFORE + [file for file in files if file not in BESIDE] == WALK and len(WALK) <= 10


def test_the_document_tells_this_walk():
    assert told("A question") == WALK
    text = DOCUMENT.read_text(encoding="utf-8").partition("\n## A question\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\* `([\w/.]+)`", text, re.M) == BESIDE
