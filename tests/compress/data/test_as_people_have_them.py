"""Files as people have them: what is read, what is mended and counted, and what is refused with its line."""

from __future__ import annotations

import codecs
import json
from types import SimpleNamespace
from typing import Any

import pytest

from compress.data import places, uploads
from compress.data.examples import Example, TextExample
from compress.data.intake import Intake
from compress.data.squad import load_squad
from compress.data.texts import load_texts
from zoo.errors import UserError
from zoo.tasks import find_task

SST2, MNLI, STSB = (find_task(name) for name in ("sst2", "mnli", "stsb"))
CONTEXT = "Zoë 🐈 was born in München."
ROW = {"id": "q", "question": "Where?", "context": CONTEXT, "answer": "München"}
START = CONTEXT.index("München")
EXPECTED = Example("q", "Where?", CONTEXT, [{"text": "München", "answer_start": START}])
TABLE = f'"question","context","answer","id"\n"Where?","{CONTEXT}","München","q"\n'


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "get_settings", lambda: SimpleNamespace(home=tmp_path / "home", on_space=False))


def read(tmp_path, name: str, content: str | bytes, skip: bool = False) -> tuple[list[Example], Intake]:
    """The questions of a file, as `--eval-file` and recipes read them, and what was said."""
    path, intake = tmp_path / name, Intake(skip=skip)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_squad(path, intake=intake), intake


def read_texts(tmp_path, name: str, content: str | bytes, task: Any = SST2) -> tuple[list[TextExample], Intake]:
    path, intake = tmp_path / name, Intake()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_texts(task, path, intake=intake), intake


def paragraph(**qa: Any) -> dict[str, Any]:
    return {"context": CONTEXT, "qas": [{"id": "q", "question": "Where?", **qa}]}


SPOKEN = {"answers": [{"text": "München", "answer_start": START}]}
ARTICLE = {"title": "", "paragraphs": [paragraph(**SPOKEN)]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", codecs.BOM_UTF8 + TABLE.encode()),
        ("bom.json", codecs.BOM_UTF8 + json.dumps({"data": [ARTICLE]}).encode()),
        ("bom.jsonl", codecs.BOM_UTF8 + json.dumps(ROW).encode()),
        ("windows.csv", TABLE.replace(",", ";").replace('";"', '";"').encode()),
        ("sep.csv", ("sep=;\r\n" + TABLE.replace('","', '";"').replace("\n", "\r\n")).encode()),
        ("quoted-sep.csv", ('"sep=;"\n' + TABLE.replace('","', '";"')).encode()),
        ("unicode.txt", TABLE.replace('","', '"\t"').encode("utf-16")),
        ("unicode.csv", TABLE.replace('","', '"\t"').encode("utf-16")),
        ("big.tsv", codecs.BOM_UTF16_BE + TABLE.replace('","', '"\t"').encode("utf-16-be")),
        ("unmarked.csv", TABLE.encode("utf-16-le")),
        ("mac.csv", TABLE.replace("\n", "\r").encode()),
        ("capitals.CSV", TABLE.replace("question", "Question").encode()),
        ("passage.csv", TABLE.replace("context", "Passage").encode()),
        ("squad.json", json.dumps({"version": "1.1", "data": [ARTICLE]})),
        ("articles.json", json.dumps([ARTICLE])),
        ("paragraphs.json", json.dumps([paragraph(**SPOKEN)])),
        ("data-of-paragraphs.json", json.dumps({"data": [paragraph(**SPOKEN)]})),
        ("one-paragraph.json", json.dumps(paragraph(**SPOKEN))),
        ("rows.json", json.dumps([ROW])),
        ("data-of-rows.json", json.dumps({"data": [ROW]})),
        ("lines-by-another-name.json", json.dumps(ROW) + "\n" + json.dumps({**ROW, "id": "r"})),
        ("paragraphs.jsonl", json.dumps(paragraph(**SPOKEN))),
        ("squad.jsonl", json.dumps({"data": [ARTICLE]})),
        ("hub.jsonl", json.dumps({**ROW, "answers": {"text": ["München"], "answer_start": [START]}})),
        ("float.jsonl", json.dumps({**ROW, "answer_start": float(START)})),
        ("nan.jsonl", json.dumps({**ROW, "title": float("nan"), "answer_start": float("nan")})),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_a_file_is_read_whatever_it_was_saved_as(name, content, tmp_path):
    found, intake = read(tmp_path, name, content)
    assert found[0] == EXPECTED and not intake.repairs


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
@pytest.mark.parametrize(
    ("task", "keys"),
    [
        ("sst2", ("ID", "Sentence", "Label")),
        ("sst2", ("Id", "TEXT", "Quality")),
        ("labels", ("id", "Text", "LABEL")),
        ("labels", ("id", "Review", "Stars")),
    ],
)
def test_capitals_make_no_difference_in_names_of_columns(name, task, keys, tmp_path):
    rows = [("r7", "fine", "1"), ("r8", "bad", "0")]
    objects = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
    text = {"a.jsonl": "\n".join(objects), "a.json": f"[{', '.join(objects)}]"}.get(name)
    text = text or "\n".join(map(",".join, [keys, *rows]))
    about = find_task(task).with_labels(["0", "1"] if task == "labels" else find_task(task).labels)
    found, _ = read_texts(tmp_path, name, text, about)
    assert found == [TextExample("r7", "fine", None, 1), TextExample("r8", "bad", None, 0)]


def test_a_column_of_the_very_name_goes_before_one_in_capitals(tmp_path):
    rows = [{"Sentence": "no", "sentence": "yes", "LABEL": 0, "label": 1}]
    found, _ = read_texts(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert [(one.first, one.label) for one in found] == [("yes", 1)]
    found = load_texts(SST2, tmp_path / "a.jsonl", intake=Intake(columns={"sentence": "Sentence", "label": "LABEL"}))
    assert [(one.first, one.label) for one in found] == [("no", 0)]


def test_windows_1252_is_read_and_said_with_a_word_of_it(tmp_path):
    plain = CONTEXT.replace("🐈 ", "")
    content = f"question,context,answer\nWhere?,{plain},München\n".encode("cp1252")
    found, intake = read(tmp_path, "excel.csv", content)
    assert (found[0].context, found[0].answers[0]["text"]) == (plain, "München")
    assert intake.sentences == [
        "It is no UTF-8 and was read as Windows-1252: check that “Zoë” in line 2 is right, or save the file as UTF-8."
    ]
    upload = "".join(f"Where?,{plain} {i},München\n" for i in range(3))
    (tmp_path / "own.csv").write_bytes(f"question,context,answer\n{upload}".encode("cp1252"))
    assert "Windows-1252" in uploads.accept(tmp_path / "own.csv").notices[0]


@pytest.mark.parametrize(
    "raw",
    [
        "question,context,answer\né?,Zoë,Zo\n".encode() + "München".encode("cp1252"),  # damaged UTF-8
        b"question,context,answer\n" + "Где?,Анна живёт в Москве,Москва\n".encode("cp1251"),
        b"question,context,answer\nWhere?,Zo\x81,Zo\n",
    ],
)
def test_what_is_neither_is_refused_with_its_line(raw, tmp_path):
    with pytest.raises(UserError, match=r"a.csv, line \d: this is not UTF-8 text. Save the file as UTF-8"):
        read(tmp_path, "a.csv", raw)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answers": [{"text": "München", "answer_start": len(CONTEXT[:START].encode())}]}, "counted in bytes"),
        ({"answers": [{"text": "München", "answer_start": START + 1}]}, "counted in UTF-16 units"),
        ({"answers": [{"text": " München ", "answer_start": START}]}, "outer blanks or in capitals"),
        ({"answers": [{"text": "MÜNCHEN", "answer_start": START}]}, "outer blanks or in capitals"),
        ({"answers": [{"text": "München\n", "answer_start": START - 1}]}, "outer blanks or in capitals"),
        ({"answer": "münchen "}, "outer blanks or in capitals"),
    ],
)
def test_an_answer_that_is_nearly_right_is_mended_and_counted(change, said, tmp_path):
    rows = [{"question": "Where?", "context": CONTEXT, "id": str(i), **change} for i in range(2)]
    found, intake = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert [e.answers for e in found] == [[{"text": "München", "answer_start": START}]] * 2
    (sentence,) = intake.sentences
    assert sentence.startswith("2 answers ") and said in sentence


@pytest.mark.parametrize(
    ("qa", "said"),
    [
        ({"plausible_answers": [{"text": "Zoë", "answer_start": 0}]}, "have plausible_answers alone"),
        ({"plausible_answers": [], "is_impossible": True}, "have plausible_answers alone"),
        ({"is_impossible": True, **SPOKEN}, "are marked is_impossible and have answers"),
        ({"is_impossible": True, "answers": [{"text": "", "answer_start": 0}]}, ""),
        ({"is_impossible": "True"}, ""),
        ({"answers": []}, ""),
        ({"answer": ""}, ""),
    ],
)
def test_what_has_no_answer_is_read_so(qa, said, tmp_path):
    found, intake = read(tmp_path, "a.json", json.dumps([paragraph(**qa)]))
    assert found[0].impossible and found[0].answers == [] and said in " ".join(intake.sentences)
    assert bool(said) == bool(intake.repairs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": float("nan")}, "line 2: “question” is NaN, as pandas writes what is missing. Write the text"),
        ({"answer": float("nan")}, "line 2: “answer” is NaN, as pandas writes what is missing. Leave it empty"),
        ({"answers": [{"text": "", "answer_start": 0}]}, "line 2: an answer has no text"),
        ({"answers": [{"text": float("nan")}]}, "line 2: an answer has no text"),
        ({"answers": {"text": [" "], "answer_start": [0]}}, "line 2: an answer has no text"),
        ({"answer_start": float("inf")}, "line 2: the answer “München” does not stand at character inf"),
        ({"answer_start": 10**20}, "line 2: the answer “München” does not stand at character 1000"),
    ],
)
def test_what_cannot_be_known_is_refused_with_its_line(change, said, tmp_path):
    text = json.dumps({**ROW, "id": "fine"}) + "\n" + json.dumps({**ROW, **change})
    with pytest.raises(UserError, match="a.jsonl, " + said):
        read(tmp_path, "a.jsonl", text)
    found, intake = read(tmp_path, "a.jsonl", text, skip=True)
    assert [e.id for e in found] == ["fine"] and intake.left_out == 1 and said in intake.sentences[0]


def test_original_mnli_is_read_without_what_nobody_agreed_on(tmp_path):
    labels = ["contradiction", "-", "neutral", "entailment", "-"]
    rows = [
        {
            "gold_label": label,
            "sentence1": f"p{i}",
            "sentence2": f"h{i}",
            "annotator_labels": [label],
            "pairID": f"{i}n",
        }
        for i, label in enumerate(labels)
    ]
    text = "\n".join(map(json.dumps, rows))
    found, intake = read_texts(tmp_path, "multinli_1.0_dev_matched.jsonl", text, MNLI)
    assert [(e.first, e.second, e.label) for e in found] == [("p0", "h0", 2), ("p2", "h2", 1), ("p3", "h3", 0)]
    assert "2 texts have the label “-”, on which annotators did not agree" in intake.sentences[-1]
    table = "gold_label\tsentence1\tsentence2\n" + "".join(f"{r['gold_label']}\t{r['sentence1']}\th\n" for r in rows)
    assert [e.label for e in read_texts(tmp_path, "dev.tsv", table, MNLI)[0]] == [2, 1, 0]
    (tmp_path / "mine.jsonl").write_text(text)
    upload = uploads.accept(tmp_path / "mine.jsonl", task="mnli")
    assert upload.examples == 3 and "“gold_label” was read as `label`." in upload.notices


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "sentence,label\nfine,1\nbad,negative\n"),
        ("a.tsv", codecs.BOM_UTF8 + b'"text"\t"label"\nfine\tpositive\nbad\t0\n'),
        ("a.txt", "sentence\tlabel\nfine\t1\nbad\t0\n".encode("utf-16")),
        ("a.json", '[{"sentence": "fine", "label": 1}, {"sentence": "bad", "label": 0}]'),
        ("a.jsonl", '{"sentence": "fine", "label": "1"}\n{"sentence": "bad", "label": "Negative"}'),
    ],
)
def test_texts_to_score_on_are_read_from_every_kind_of_table(name, content, tmp_path):
    expected = [TextExample("0", "fine", None, 1), TextExample("1", "bad", None, 0)]
    assert read_texts(tmp_path, name, content)[0] == expected
    if name != "a.txt":
        (tmp_path / "folder").mkdir()
        (tmp_path / name).rename(tmp_path / "folder" / f"validation{name[1:]}")
        assert load_texts(SST2, tmp_path / "folder") == expected


FAULTY = {
    "csv": 'question,context,answer\n{good}\nWho?,few\n{good}\nWho?,"it "is" so",x\nWho?,Ann came.,Bob\n{good}',
    "jsonl": "{good}\n{{\n{good}\n[1]\n{bad}\n{good}",
}


@pytest.mark.parametrize("kind", FAULTY)
def test_wrong_lines_are_left_out_and_counted_where_asked_for(kind, tmp_path):
    rows = [{"question": "Who?", "context": "Ann came.", "answer": answer} for answer in ("Ann", "Bob")]
    good, bad = map(json.dumps, rows) if kind == "jsonl" else ("Who?,Ann came.,Ann", "")
    text = FAULTY[kind].format(good=good, bad=bad)
    first = "line 3: 2 cells under 3 columns" if kind == "csv" else "line 2: this is no JSON"
    with pytest.raises(UserError, match=first):
        read(tmp_path, f"a.{kind}", text)
    found, intake = read(tmp_path, f"a.{kind}", text, skip=True)
    assert len(found) == 3 and intake.left_out == 3
    assert intake.sentences[0].startswith("3 wrong lines were left out; the first: ") and first in intake.sentences[0]


def test_a_quote_that_never_ends_does_not_swallow_the_rest(tmp_path):
    rows = [f"Who?,Ann {i} came.,Ann" for i in range(6)]
    rows[2] = 'Who?,"Ann 2 came.,Ann'
    found, intake = read(tmp_path, "a.csv", "\n".join(["question,context,answer", *rows]), skip=True)
    assert [e.context[4] for e in found] == list("01345") and "line 4: this is no CSV" in intake.first


def test_lines_of_another_encoding_and_nuls_are_left_out_too(tmp_path):
    raw = "question,context,answer\nWho?,Zoë came.,Zoë\nWho?,B\0b came.,x\n".encode() + b"Who?,Zo\xe9 came,x\n"
    found, intake = read(tmp_path, "a.csv", raw, skip=True)
    assert [e.context for e in found] == ["Zoë came."] and intake.left_out == 2


def test_questions_of_squad_json_are_left_out_one_by_one(tmp_path):
    wrong = paragraph(answers=[{"text": "Paris", "answer_start": 0}])
    data = {"data": [{"paragraphs": [paragraph(**SPOKEN), wrong, {"context": "x", "qas": 3}]}, ARTICLE]}
    found, intake = read(tmp_path, "a.json", json.dumps(data, indent=1), skip=True)
    assert len(found) == 2 and intake.left_out == 2 and "(question 2): the answer “Paris”" in intake.first


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"id": ' + "1" * 5000 + "}]", '{"data": 5}', "5", '"x"', "null", ""])
def test_json_that_is_something_else_is_refused_in_a_sentence(text, tmp_path):
    with pytest.raises(
        UserError, match=r"a.json(, line 1)?: (this JSON|there is no list|an object is wanted|this is no)"
    ):
        read(tmp_path, "a.json", text)


def test_nothing_is_left_says_what_was_wrong(tmp_path):
    with pytest.raises(UserError, match="has no questions.*1 wrong lines were left out; the first: .*line 1"):
        read(tmp_path, "a.jsonl", "{", skip=True)


def test_an_upload_counts_what_it_leaves_out(tmp_path):
    rows = [{"question": "Who?", "context": f"Ann {i} came.", "answer": "Ann" if i else "Bob"} for i in range(5)]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match="line 1: the answer “Bob”"):
        uploads.accept(path)
    upload = uploads.accept(path, skip=True)
    assert upload.examples == 4 and upload.notices[0].startswith("1 wrong lines were left out; the first: mine.jsonl, ")


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "answers"])
def test_a_file_in_which_everything_is_wrong_takes_time_by_its_length(kind, tmp_path, monkeypatch):
    """Characters that are decoded or compared, counted: twice the file may not take more than twice as many."""
    steps = {"count": 0}

    class Decoder:
        def raw_decode(self, text: str, at: int) -> tuple[Any, int]:
            value, end = real.raw_decode(text, at)
            steps["count"] += end - at
            return value, end

    real = places.DECODER
    monkeypatch.setattr(places, "DECODER", Decoder())
    fresh = csv_reader_counting(steps, monkeypatch)

    def work(n: int) -> int:
        steps["count"] = 0
        if kind == "csv":
            text = "question,context,answer\nWho?,Ann came.,Ann\n" + 'Who?,"Ann came.,Ann\n' * n
        elif kind == "answers":
            answers = [{"text": "Bob", "answer_start": i} for i in range(n)]
            text = json.dumps([{"question": "Who?", "context": "Ann", "answers": answers}, {**ROW}])
        else:
            rows = [{"question": "Who?", "context": f"Ann {i}.", "answer": "Bob"} for i in range(n)]
            text = json.dumps([*rows, ROW]) if kind == "json" else "\n".join(map(json.dumps, [*rows, ROW]))
        found, intake = read(tmp_path, f"a.{'json' if kind == 'answers' else kind}", text, skip=True)
        assert len(found) == 1 and intake.left_out == (1 if kind == "answers" else n)
        return steps["count"] + len(text)

    assert fresh and work(2000) <= 2.2 * work(1000)


def test_quotes_that_swallow_the_rest_at_every_line_are_given_up_in_time(tmp_path, monkeypatch):
    steps = {"count": 0}
    csv_reader_counting(steps, monkeypatch)

    def work(n: int) -> int:
        """Each line ends the quote of the one before and begins another, which the end of the file leaves open."""
        steps["count"] = 0
        with pytest.raises(UserError, match="Too many lines have wrong quotes to leave them out"):
            read(tmp_path, "a.csv", "question,context,answer\n" + 'Who",?,"Ann came.\n' * n, skip=True)
        return steps["count"]

    assert work(2000) <= 2.2 * work(1000)


def csv_reader_counting(steps: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Counts the characters of the lines that `csv.reader` is given."""
    from compress.data import tables

    real = tables.csv.reader

    def reader(lines: Any, **options: Any) -> Any:
        def counted() -> Any:
            for line in lines:
                steps["count"] += len(line)
                yield line

        return real(counted(), **options)

    monkeypatch.setattr(tables.csv, "reader", reader)
    return True
