"""The list of licences holds every package of the locks, as it states its own."""

from __future__ import annotations

import re

from tests.licences_kit import DOCUMENT, ELSEWHERE, licence_of, locked

ROW = re.compile(r"^\| ([\w.-]+) \| (.+) \| (program|Spaces|developers) \|$", re.MULTILINE)


def test_every_locked_package_stands_there_with_its_licence():
    rows = {name: (licence, who) for name, licence, who in ROW.findall(DOCUMENT.read_text(encoding="utf-8"))}
    assert {name: who for name, (_, who) in rows.items()} == locked(), "run `python -m tests.licences_kit`"
    for name, (licence, _) in rows.items():
        assert licence == (licence_of(name) or ELSEWHERE.get(name)), name
    assert rows["gradio"] == ("Apache Software License", "program") or "Apache" in rows["gradio"][0]
    assert rows["pytest"][1] == "developers" and rows["spaces"][1] == "Spaces"


def test_what_is_not_installed_is_told_to_be_so():
    assert licence_of("no-such-package-at-all") == ""
