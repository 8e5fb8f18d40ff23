from __future__ import annotations

import json

import pytest

from compress.data.squad import Example, fingerprint, load_squad
from zoo.errors import UserError


def article(
    title="Lakes", context: object = "Baikal is deep.", answers=({"text": "deep", "answer_start": 10},), **more
):
    qa = {"id": "q1", "question": "How?", "answers": list(answers), **more}
    return {"title": title, "paragraphs": [{"context": context, "qas": [qa]}]}


def write(path, data):
    path.write_text(json.dumps(data))
    return path


def test_a_file_of_version_1(tmp_path):
    path = write(tmp_path / "d.json", {"version": "1.1", "data": [article()]})
    assert load_squad(path) == [
        Example("q1", "How?", "Baikal is deep.", [{"text": "deep", "answer_start": 10}], "Lakes", False)
    ]


def test_a_file_of_version_2_has_impossible_questions(tmp_path):
    path = write(tmp_path / "d.json", {"data": [article(answers=(), is_impossible=True, plausible_answers=[])]})
    (example,) = load_squad(str(path))
    assert example.impossible and example.answers == []


def test_an_answer_without_text_is_none_where_that_is_marked(tmp_path):
    answers = [{"text": "", "answer_start": 0}]
    (example,) = load_squad(write(tmp_path / "d.json", {"data": [article(answers=answers, is_impossible=True)]}))
    assert example.impossible and example.answers == []


def test_titles_are_globs(tmp_path):
    path = write(tmp_path / "d.json", {"data": [article("Apollo 11"), article("Chess"), article("Chocolate")]})
    assert [e.title for e in load_squad(path, titles=["Ch*", "X*"])] == ["Chess", "Chocolate"]
    with pytest.raises(UserError, match="titled Zebra"):
        load_squad(path, titles=["Zebra"])


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ([], "d.json has no questions"),
        ({"data": {}}, "d.json, line 1: there is no list “data” here"),
        ({"data": ["x"]}, r"line 1 \(item 1\): an object is wanted here"),
        ({"data": [{"title": "x", "paragraphs": 3}]}, r"line 1 \(item 1\): there is no list “paragraphs” here"),
        ({"data": [article(context=3)]}, r"line 1 \(question 1\): there is no text under “context”"),
        ({"data": [article(), article(question=None)]}, r"line 1 \(question 2\): there is no text under “question”"),
        (
            {"data": [article(answers=({"text": "deep", "answer_start": 8},))]},
            "the answer “deep” does not stand at character 8 of the passage. It stands at 10: correct answer_start",
        ),
        ({"data": [article(answers=({"text": "deep.", "answer_start": -5},))]}, "does not stand at character -5"),
        ({"data": [article(answers=({"text": "", "answer_start": 0},))]}, r"\(question 1\): an answer has no text"),
        ({"data": [article(answers=(), is_impossible=False)]}, "is_impossible is false, but there is no answer"),
        ({"data": [article(answers=(), is_impossible="perhaps")]}, "is_impossible is 'perhaps'. Write true or false"),
        ({"data": []}, "has no questions"),
        (
            {"data": [article(answers=({"text": "", "answer_start": 0},))]},
            "question 1.*: an answer has no text.*is_imp",
        ),
        ({"data": [article(answers=({"text": " ", "answer_start": 6},))]}, "question 1.*: an answer has no text"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path, data, place):
    with pytest.raises(UserError, match=place):
        load_squad(write(tmp_path / "d.json", data))


def test_broken_and_absent_files(tmp_path):
    (tmp_path / "d.json").write_text('{"data": [')
    with pytest.raises(UserError, match="d.json, line 1: this is no JSON"):
        load_squad(tmp_path / "d.json")
    with pytest.raises(UserError, match="absent.json"):
        load_squad(tmp_path / "absent.json")


def test_the_bundled_questions():
    found = load_squad("examples")
    assert len({e.title for e in found}) >= 12 and len(found) >= 60
    assert all(e.answers for e in found)


@pytest.fixture
def hub(monkeypatch):
    """A Hub of two data sets, seen through the library's own function."""
    import datasets

    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        if name == "owner/absent":
            raise ConnectionError("no network\nand a long story")
        answers = {"text": ["deep"], "answer_start": [10]}
        row = {"id": "h1", "title": "Lakes", "context": "Baikal is deep.", "question": "How?", "answers": answers}
        return [row, {**row, "id": "h2", "answers": {"text": [], "answer_start": []}}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_the_hub(hub):
    one, two = load_squad("rajpurkar/squad", "validation")
    assert one == Example("h1", "How?", "Baikal is deep.", [{"text": "deep", "answer_start": 10}], "Lakes")
    assert two.impossible
    load_squad("rajpurkar/squad:train", "validation")
    load_squad("google/xquad/xquad.de:test")
    asked = [("rajpurkar/squad", None, "validation"), ("rajpurkar/squad", None, "train")]
    assert hub == [*asked, ("google/xquad", "xquad.de", "test")]
    with pytest.raises(UserError, match="no network"):
        load_squad("owner/absent")
    with pytest.raises(UserError, match="neither a file nor a data set of the Hub"):
        load_squad("no such/thing/at all")


def test_fingerprints_are_of_passages_whatever_their_blanks():
    a, b, c = Example("1", "x", "a  b\n"), Example("2", "y", "a b"), Example("3", "x", "b a")
    assert fingerprint([a]) == fingerprint([b]) == fingerprint([a, b])
    assert not fingerprint([a]) & fingerprint([c])
    assert all(len(digits) == 12 for digits in fingerprint([a, c]))


def test_real_data_is_read_and_kept_apart(data):
    report = load_squad(data / "qa" / "squad-dev-v1.1.json")
    assert len(report) == 10570
    assert sum(e.impossible for e in load_squad(data / "qa" / "squad-dev-v2.0.json")) == 5945
    train = fingerprint(load_squad(data / "qa" / "train.json"))
    assert not train & fingerprint(load_squad(data / "qa" / "validation.json"))
    assert not train & fingerprint(report)
