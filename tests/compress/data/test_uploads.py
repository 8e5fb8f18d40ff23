import json
from types import SimpleNamespace

import pytest

from compress.data import uploads
from compress.data.places import Document
from compress.data.squad import fingerprint, load_squad
from zoo.errors import UserError

PASSAGES = ["Ada was born in London.", "Bees fly to Kew.", "Cats sleep in Rome.", "Dogs bark in Oslo."]
ANSWERS = ["London", "Kew", "Rome", "Oslo"]
PAIRS = list(zip(PASSAGES, ANSWERS, strict=True))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "get_settings", lambda: SimpleNamespace(home=tmp_path / "home", on_space=False))
    return tmp_path / "home"


def rows():
    return [{"question": f"Where {i}?", "context": c, "answer": a} for i, (c, a) in enumerate(PAIRS)]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def as_csv(rows, head="question,context,answer"):
    return "\n".join([head, *(",".join(f'"{r[k]}"' for k in head.split(",")) for r in rows)])


def as_jsonl(rows):
    return "\n".join(json.dumps(row) for row in rows)


def as_squad(rows, indent=1):
    paragraphs = [
        {
            "context": r["context"],
            "qas": [
                {
                    "id": str(i),
                    "question": r["question"],
                    "answers": [{"text": r["answer"], "answer_start": r["context"].find(r["answer"])}],
                }
            ],
        }
        for i, r in enumerate(rows)
    ]
    return json.dumps({"version": "1.1", "data": [{"title": "T", "paragraphs": paragraphs}]}, indent=indent)


WRITERS = {"csv": as_csv, "jsonl": as_jsonl, "json": as_squad}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_becomes_three_parts_without_a_common_passage(kind, tmp_path, home):
    found = uploads.accept(write(tmp_path / f"Own data.{kind}", WRITERS[kind](rows())))
    assert (found.examples, found.distinct, found.impossible) == (4, 4, 0)
    parts = {role: load_squad(path) for role, path in found.parts.items()}
    assert sorted(e.context for examples in parts.values() for e in examples) == sorted(PASSAGES)
    assert [len(parts[role]) for role in ("train", "validation", "evaluation")] == [2, 1, 1]
    assert {e.answers[0]["text"] for examples in parts.values() for e in examples} == set(ANSWERS)
    assert all(path.is_relative_to(home / "uploads") for path in found.parts.values())
    assert found.name.startswith("Own-data-")


def test_the_same_file_is_stored_once(tmp_path, home):
    path = write(tmp_path / "a.csv", as_csv(rows()))
    assert uploads.accept(path).parts == uploads.accept(path).parts
    assert len(list((home / "uploads").iterdir())) == 1


def test_a_list_of_objects_and_hub_rows_will_do(tmp_path):
    given = [
        {**row, "answers": {"text": [row.pop("answer")], "answer_start": [row["context"].rindex(" ") + 1]}}
        for row in rows()
    ]
    assert uploads.accept(write(tmp_path / "a.json", json.dumps(given))).examples == 4


def test_no_answer_makes_it_version_2(tmp_path):
    given = rows()
    given[0]["answer"] = ""
    found = uploads.accept(write(tmp_path / "a.csv", as_csv(given)))
    assert found.impossible == 1
    kept = [e for path in found.parts.values() for e in load_squad(path)]
    assert [e.impossible for e in kept if e.question == "Where 0?"] == [True]
    versions = {json.loads(path.read_text())["version"] for path in found.parts.values()}
    assert versions == {"1.1", "v2.0"}


def test_semicolons_byte_order_mark_and_breaks_inside_quotes(tmp_path):
    text = "question;context;answer\n" + "\n".join(f'Where?;"{c}\nMore; text.";{a}' for c, a in PAIRS)
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert uploads.accept(path).examples == 4


def test_tabs_stand_between_cells_too(tmp_path):
    text = as_csv(rows()).replace('","', '"\t"').replace(",", "\t")
    assert uploads.accept(write(tmp_path / "a.tsv", text)).examples == 4


def test_passages_that_differ_in_blanks_stay_together(tmp_path):
    given = [*rows(), *({**row, "context": row["context"].replace(" ", "  ")} for row in rows())]
    found = uploads.accept(write(tmp_path / "a.jsonl", as_jsonl(given)))
    parts = [fingerprint(load_squad(path)) for path in found.parts.values()]
    assert (found.examples, found.distinct) == (8, 4) and sum(map(len, parts)) == len(set().union(*parts))


def test_an_answer_that_stands_twice_is_said(tmp_path):
    given = rows()
    given[0]["context"] = "London, London."
    found = uploads.accept(write(tmp_path / "a.jsonl", as_jsonl(given)))
    assert found.notices and found.notices[0].startswith("1 answers without answer_start stand more than once")


def test_two_questions_never_share_an_id(tmp_path):
    given = [{**row, "id": "same"} for row in rows()]
    found = uploads.accept(write(tmp_path / "a.jsonl", as_jsonl(given)))
    assert len({e.id for path in found.parts.values() for e in load_squad(path)}) == 4


def broken(kind, change):
    given = rows()
    change(given[2])
    return WRITERS[kind](given)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("csv", broken("csv", lambda r: r.update(answer="Paris")), "line 4: the answer “Paris” does not stand"),
        ("csv", broken("csv", lambda r: r.update(question=" ")), "line 4: there is no text under “question”"),
        ("csv", "question,answer\na,b", "line 1: there is no column context"),
        ("csv", as_csv(rows()) + "\na,b", "line 6: 2 cells under 3 columns"),
        ("csv", as_csv(rows()) + '\n"a,b', "line 6: this is no CSV"),
        ("jsonl", broken("jsonl", lambda r: r.pop("context")), "line 3: there is no text under “context”"),
        ("jsonl", as_jsonl(rows()) + "\n\n{", "line 6: this is no JSON"),
        ("jsonl", as_jsonl(rows()) + "\n[1]", "line 5: an object is wanted"),
        ("jsonl", broken("jsonl", lambda r: r.update(answer_start=3)), "line 3: the answer “Rome” does not stand at"),
        ("jsonl", broken("jsonl", lambda r: r.update(answers=[{"text": 1}])), "line 3: an answer has no text"),
        ("json", as_squad(rows())[:-1], "line"),
        ("json", '{"data": {}}', "line 1: there is no list “data”"),
        ("json", "[]", "holds no questions"),
        ("pdf", "x", "ends in .json, .jsonl, .csv"),
        ("csv", as_csv(rows()[:2]), "about 2 passages; at least 3"),
        ("csv", "question,context,answer\na,\0,b", "line 2: a NUL"),
        ("csv", "question,context,answer,answer\n", "line 1: there is more than one column answer"),
        ("jsonl", '{"question": "\\ud800", "context": "x", "answer": ""}', "“question” holds half a character"),
    ],
)
def test_the_wrong_line_is_named(kind, text, said, tmp_path, home):
    with pytest.raises(UserError) as caught:
        uploads.accept(write(tmp_path / f"mine.{kind}", text))
    assert said in str(caught.value) and str(caught.value).startswith(("mine.", "These"))
    assert not home.exists()


def test_the_wrong_line_of_squad_json_is_named_too(tmp_path):
    text = broken("json", lambda r: r.update(answer="Paris"))
    line = next(i for i, row in enumerate(text.splitlines(), 1) if '"2"' in row) - 1  # the object begins above its id
    with pytest.raises(UserError, match=rf"line {line} \(question 3\): the answer “Paris”"):
        uploads.accept(write(tmp_path / "a.json", text))


def test_the_wrong_line_of_a_list_is_named_too(tmp_path):
    given = rows()
    given[2]["answer"] = "Paris"
    with pytest.raises(UserError, match=r"line 12 \(item 3\): the answer “Paris”"):
        uploads.accept(write(tmp_path / "a.json", json.dumps(given, indent=1)))
    with pytest.raises(UserError, match=r"line 2 \(item 2\): an object is wanted"):
        uploads.accept(write(tmp_path / "a.json", '[{"question": "a", "context": "b", "answer": "b"},\n5]'))


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ('\n{"data":\n[1, {"a": "]}\\n,"},\n2]}', ("data", 2), 4),
        ('\n{"data":\n[1, {"a": "]}\\n,"},\n2]}', ("data", 1, "a"), 3),
        ('{"a": [1],\n"a": [2,\n3]}', ("a", 1), 3),
        ('{"a": 1,\n"b": 5}', ("b", 0, "c"), 2),
        ("[]", (0,), 1),
        ("  \n 7", (), 2),
    ],
)
def test_a_value_of_json_begins_in_a_line(text, path, line):
    assert Document("a.json", text).line(path) == line


def test_what_is_no_utf8_is_named_by_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"question,context,answer\nx\xc3\xa9,\xff\xfe,z")
    with pytest.raises(UserError, match="line 2: this is not UTF-8"):
        uploads.accept(path)


def test_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 10)
    with pytest.raises(UserError, match="larger"):
        uploads.accept(write(tmp_path / "a.csv", as_csv(rows())))
    monkeypatch.setattr(uploads, "MAX_BYTES", 10**6)
    monkeypatch.setattr(uploads, "MAX_EXAMPLES", 3)
    with pytest.raises(UserError, match="more than 3 questions"):
        uploads.accept(write(tmp_path / "a.csv", as_csv(rows())))


def test_a_name_never_leads_out_of_the_folder(tmp_path, home):
    path = write(tmp_path / "up.csv", as_csv(rows()))
    found = uploads.accept(path, "../../../etc/pass wd.csv")
    assert all(part.is_relative_to(home / "uploads") for part in found.parts.values())


def test_pairs_and_plain_text_to_embed_are_stored_in_parts(tmp_path, home):
    pairs = write(
        tmp_path / "likes.csv", "text1,text2,similarity\n" + "".join(f"a {i},b {i},{i / 10}\n" for i in range(10))
    )
    upload = uploads.accept(pairs, task="embeddings")
    counts = {role: len(path.read_text().splitlines()) for role, path in upload.parts.items()}
    assert counts == {"train": 8, "validation": 1, "evaluation": 1} and upload.told.startswith("10 pairs for STS-B")
    row = json.loads(upload.parts["train"].read_text().splitlines()[0])
    assert row["sentence1"].replace("a", "b") == row["sentence2"]
    assert row["label"] == pytest.approx(int(row["id"]) / 10 - 0.2)
    lines = uploads.accept(
        write(tmp_path / "plain.txt", "\n".join(f"passage {i}" for i in range(10))), task="embeddings"
    )
    rows = [json.loads(line) for line in lines.parts["train"].read_text().splitlines()]
    assert len(rows) == 8 and all(set(row) == {"id", "sentence1"} for row in rows)


@pytest.mark.parametrize("task", ["search", "ranking"])
def test_queries_of_one_passage_are_in_one_part(task, tmp_path, home):
    shared = {"query": "joins", "passages": ["p0", "p1"], "relevant": [0, 1]}
    rows = [{"query": f"q{i}", "passages": [f"p{i}", "other"], "relevant": [0]} for i in range(9)]
    upload = uploads.accept(write(tmp_path / "own.jsonl", as_jsonl([*rows, shared])), task=task)
    where = {
        json.loads(line)["query"]: role for role, path in upload.parts.items() for line in path.read_text().splitlines()
    }
    assert len(where) == 10 and where["joins"] == where["q0"] == where["q1"] and upload.distinct == 8
    with pytest.raises(UserError, match="line 2: “relevant” has 5"):
        uploads.accept(write(tmp_path / "bad.jsonl", as_jsonl([rows[0], {**rows[1], "relevant": [5]}])), task=task)
