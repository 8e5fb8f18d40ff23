from __future__ import annotations

import json

import pytest

from compress.data.fingerprints import refuse_overlap
from compress.data.texts import TextExample, draw, fingerprint, load_texts, passages
from zoo.errors import UserError
from zoo.tasks import find_task

SST2, MRPC, STSB, MNLI = map(find_task, ("sst2", "mrpc", "stsb", "mnli"))
ROWS = [{"sentence": "fine ", "label": 1, "idx": 7}, {"sentence": "bad", "label": 0, "idx": 9}]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_a_file_and_a_folder(tmp_path):
    path = write(tmp_path / "glue" / "sst2" / "train.jsonl", [*ROWS, ""])
    expected = [TextExample("7", "fine ", None, 1), TextExample("9", "bad", None, 0)]
    for source in (path, str(path.parent), path.parents[1]):
        assert load_texts(SST2, source, "train") == expected
    with pytest.raises(UserError, match="neither validation.jsonl nor sst2/validation.jsonl"):
        load_texts(SST2, path.parents[1])


def test_pairs_scores_and_rows_without_ids(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "label": 2}, {"sentence1": "a", "sentence2": "", "label": 4.75}]
    path = write(tmp_path / "validation.jsonl", rows)
    assert load_texts(STSB, path) == [TextExample("0", "a", "b", 2.0), TextExample("1", "a", "", 4.75)]


def test_both_validation_sets_of_mnli_may_lie_in_one_file(tmp_path):
    write(tmp_path / "mnli" / "validation.jsonl", [{"premise": "p", "hypothesis": "h", "label": -1}])
    assert load_texts(MNLI, tmp_path) == load_texts(find_task("mnli_mm"), tmp_path) == [TextExample("0", "p", "h")]


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        (SST2, [], "has no rows"),
        (SST2, [ROWS[0], '{"sentence": '], "line 2: this is no JSON"),
        (SST2, [ROWS[0], "", {"words": "x", "label": 0}], "line 3: there is no text under “sentence”"),
        (SST2, ["[1]"], "line 1: an object is wanted"),
        (MRPC, [{"sentence1": "a", "sentence2": 3, "label": 0}], "line 1: there is no text under “sentence2”"),
        (SST2, [{"sentence": "a"}], "line 1: there is no label. .*Write -1 where it is not known"),
        (SST2, [ROWS[0], {"sentence": "a", "label": 2}], r"line 2: the label “2” is not 0 \(negative\) or 1"),
        (SST2, [{"sentence": "a", "label": 0.5}], "the label “0.5” is not 0"),
        (SST2, [{"sentence": "a", "label": True}], "the label “True” is not 0"),
        (STSB, [{"sentence1": "a", "sentence2": "b", "label": 5.5}], "“5.5” is not a number from 0 to 5"),
        (
            STSB,
            ['{"sentence1": "a", "sentence2": "b", "label": NaN}'],
            "the label is NaN, as pandas writes what is missing",
        ),
        (SST2, [ROWS[0], ROWS[1], ROWS[0]], "2 rows of the id '7'"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path, task, rows, message):
    with pytest.raises(UserError, match=message):
        load_texts(task, write(tmp_path / "d.jsonl", rows))


def test_absent_and_foreign_sources(tmp_path):
    with pytest.raises(UserError, match="absent.jsonl"):
        load_texts(SST2, tmp_path / "absent.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"sentence": "\xc3\xa9\xe9", "label": 0}')
    with pytest.raises(UserError, match="not UTF-8"):
        load_texts(SST2, tmp_path / "latin.jsonl")
    with pytest.raises(UserError, match="is question answering"):
        load_texts(find_task("squad"), tmp_path)


def test_the_hub(monkeypatch):
    import datasets

    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        if name == "owner/absent":
            raise ConnectionError("no network\nand a long story")
        return [*ROWS, {"sentence": "x", "label": -1, "idx": 10}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert [e.label for e in load_texts(SST2)] == [1, 0, None]
    load_texts(SST2, "nyu-mll/glue:test")
    assert asked == [("nyu-mll/glue", "sst2", "validation"), ("nyu-mll/glue", "sst2", "test")]
    with pytest.raises(UserError, match="no network"):
        load_texts(SST2, "owner/absent")
    with pytest.raises(UserError, match="validation, row 0: there is no text under “premise”"):
        load_texts(find_task("xnli_de"))
    assert asked[-1] == ("facebook/xnli", "de", "validation")


def test_a_draw_repeats_and_keeps_the_order():
    examples = [TextExample(str(i), "x") for i in range(50)]
    some = draw(examples, 5, seed=1)
    assert some == draw(examples, 5, seed=1) != draw(examples, 5, seed=2)
    assert [int(e.id) for e in some] == sorted(int(e.id) for e in some) and len(some) == 5
    assert draw(examples, None) == examples == draw(examples, 99)


def test_fingerprints_are_of_both_texts_whatever_their_blanks():
    a, b, c = TextExample("1", "a  b", "c\n"), TextExample("2", "a b", "c", 1), TextExample("1", "a b")
    assert fingerprint([a]) == fingerprint([b]) and not fingerprint([a]) & fingerprint([c])
    with pytest.raises(UserError, match="1 passages of the data to report on were trained on"):
        refuse_overlap(fingerprint([a]), passages([b, c]))
    refuse_overlap(fingerprint([a]), passages([c]))


@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"])
def test_real_validation_sets_are_read(data, name):
    task = find_task(name)
    examples = load_texts(task, data / "glue")
    counts = {"cola": 1043, "sst2": 872, "mrpc": 408, "stsb": 1500, "qqp": 5000, "mnli": 1000, "qnli": 5463, "rte": 277}
    assert len(examples) == counts[name] and all(e.label is not None for e in examples)
    assert all((e.second is None) == (len(task.columns) == 1) for e in examples)
    if not task.regression:
        assert {e.label for e in examples} == set(range(len(task.labels)))


def test_real_sets_of_other_languages_are_read(data):
    assert len(load_texts(find_task("xnli_de"), data / "xnli")) == 2490
    assert len(load_texts(find_task("xnli_zh"), data / "xnli", "test")) == 5010
