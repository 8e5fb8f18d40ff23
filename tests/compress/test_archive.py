from __future__ import annotations

import pytest

from zoo.errors import UserError
from zoo.files import Archive


def test_results_are_there_for_the_next_process(tmp_path):
    Archive(tmp_path / "a.jsonl").add("1,2", {"f1": 0.1 + 0.2})
    again = Archive(tmp_path / "a.jsonl")
    assert again.get("1,2") == {"f1": 0.1 + 0.2} and again.get("x") is None and len(again) == 1


@pytest.mark.parametrize("torn", ['{"key": "b", "f', "{", '{"key": "b"}'])
def test_half_a_line_is_dropped_and_written_anew(tmp_path, torn):
    path = tmp_path / "a.jsonl"
    Archive(path).add("a", {"f1": 1})
    with path.open("a") as file:
        file.write(torn)
    archive = Archive(path)
    assert len(archive) == 1
    archive.add("b", {"f1": 2})
    assert Archive(path).get("b") == {"f1": 2}
    assert path.read_text() == '{"key": "a", "f1": 1}\n{"key": "b", "f1": 2}\n'


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"f1": 1}', "3"])
def test_another_broken_line_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_text(f'{{"key": "a"}}\n{line}\n{{"key": "b"}}\n')
    with pytest.raises(UserError, match="Line 2 of .*a.jsonl"):
        Archive(tmp_path / "a.jsonl")
