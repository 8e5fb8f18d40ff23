"""Which column of a person's file is what: guessed by names and by what the columns hold, and read as a person says."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest

from compress.data import own_texts, queries, squad, tagged, texts, uploads
from compress.data.cells import listed
from compress.data.intake import Intake
from compress.data.pairs import load_pairs
from zoo.errors import UserError
from zoo.tasks import find_task


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "get_settings", lambda: SimpleNamespace(home=tmp_path, on_space=False))

    def put(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return put


@pytest.fixture
def bounded():
    """Ends what grows with the square of a cell: that takes minutes of the processor, where a pass takes none."""

    def stop(*_):
        raise AssertionError("the work grows with the square of the cell")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, 20)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


GERMAN = lines(*({"nr": i, "wörter": ["Ada", "ging"], "art": ["B-PER", "O"]} for i in range(3)))
FRAGEN = lines({"thema": 3, "frage": "who dug it?", "absätze": ["a b", "c d"], "treffer": [1]})
READ_OF_WORDS = [(("EU", "rejects"), ("B-ORG", "O")), (("Ada",), ("B-PER",))]


@pytest.mark.parametrize(
    ("task", "name", "text", "guess"),
    [
        ("labels", "a.csv", "id,stars,review\n1,5,fine food\n2,1,bad food\n", {"text": "review", "label": "stars"}),
        (
            "labels",
            "a.csv",
            "wo,meinung,note\nRom,das Essen war gut,1\nKiel,das Bett war hart,2\nBonn,es war gut,1\n",
            {"text": "meinung", "label": "note"},
        ),
        ("labels", "a.csv", "text_a,text_b,y\na,b,1\n", {"text": "text_a", "second": "text_b", "label": "y"}),
        ("score", "a.csv", "wert,text_x,x\n4.5,so it was,k\n", {"text": "text_x", "label": "wert"}),
        ("sst2", "a.jsonl", lines({"urteil": 1, "satz": "so it was"}), {"sentence": "satz", "label": "urteil"}),
        ("mrpc", "a.csv", "#1 String,#2 String,Quality\na,b,1\n",
         {"sentence1": "#1 string", "sentence2": "#2 string", "label": "quality"}),
        ("embeddings", "a.csv", "eins,zwei,wie\nein Satz,noch einer,0.5\n",
         {"sentence1": "eins", "sentence2": "zwei", "label": "wie"}),
        ("embeddings", "a.csv", "score,second,first\n4,b,a\n",
         {"sentence1": "first", "sentence2": "second", "label": "score"}),
        ("embeddings", "a.jsonl", lines({"anchor": "a", "positive": "b"}),
         {"sentence1": "anchor", "sentence2": "positive"}),
        ("ranking", "a.jsonl", FRAGEN, {"query": "frage", "passages": "absätze", "relevant": "treffer"}),
        ("search", "a.csv", "label,text,query\n0,a,q\n", {"query": "query", "passages": "text", "relevant": "label"}),
        ("ranking", "a.jsonl", lines({"anchor": "q", "neg": ["a"], "pos": "b"}),
         {"query": "anchor", "positive": "pos", "negative": "neg"}),
        ("tokens", "a.jsonl", GERMAN, {"tokens": "wörter", "ner_tags": "art"}),
        ("conll2003", "a.jsonl", lines({"pos": [1, 2], "words": ["EU", "is"], "tags": [3, 0]}),
         {"tokens": "words", "ner_tags": "tags"}),
        ("tokens", "a.conll", "EU NNP B-ORG\nis VBZ O\n", {"tokens": "1", "ner_tags": "3"}),
        ("tokens", "a.tsv", "B-ORG\tEU\nO\tis\n", {"tokens": "2", "ner_tags": "1"}),
        ("tokens", "a.csv", "Sentence #,Word,POS,Tag\nS 1,EU,NNP,B-ORG\n,is,VBZ,O\n",
         {"tokens": "word", "ner_tags": "tag", "sentence": "sentence #"}),
        ("tokens", "a.csv", "satz,wort,art\n1,EU,B-ORG\n1,is,O\n", {"tokens": "satz", "ner_tags": "art"}),
        ("squad", "a.csv", "passage,question,answer\na,b,a\n",
         {"question": "question", "context": "passage", "answer": "answer"}),
    ],
)  # fmt: skip
def test_columns_are_guessed_by_what_they_are_called_and_what_they_hold(task, name, text, guess, write):
    found = uploads.sheet(write(name, text), task)
    assert found is not None and found.guess == guess
    assert set(guess.values()) <= set(found.keys)
    assert all(role.name in find_task(task).named for role in found.roles)


@pytest.mark.parametrize(
    ("task", "name", "text"),
    [
        ("embeddings", "a.txt", "a passage\nanother, longer\n"),
        ("cola", "a.tsv", "gj04\t1\t\tOur friends won.\ngj04\t0\t*\tFriends our.\n"),
        ("squad", "a.json", json.dumps({"data": [{"title": "t", "paragraphs": []}]})),
        ("ranking", "a.json", json.dumps({"data": [{"title": "t", "paragraphs": []}]})),
        ("tokens", "a.conll", "EU\nis\n"),
        ("labels", "a.jsonl", "no JSON\n"),
    ],
)
def test_files_without_columns_to_tell_apart_show_none(task, name, text, write):
    assert uploads.sheet(write(name, text), task) is None


def test_columns_without_names_are_shown_by_what_they_hold(write):
    found = uploads.sheet(write("a.conll", "-DOCSTART- -X- O\n\nEU NNP B-ORG\nis VBZ O\n"), "tokens")
    assert found is not None and found.keys == {"1": "1 (EU, is)", "2": "2 (NNP, VBZ)", "3": "3 (B-ORG, O)"}
    assert [role.name for role in found.roles] == ["tokens", "ner_tags", "sentence"]
    two = uploads.sheet(write("a.conll", "EU B-ORG\nis O\n"), "tokens")
    assert two is not None and [role.name for role in two.roles] == ["tokens", "ner_tags"], "no column is left for more"


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.csv", "word,tag\nEU,B-ORG\nrejects,O\n\nAda,B-PER\n", {}),
        ("a.csv", "Sentence #,Word,POS,Tag\nS 1,EU,NNP,B-ORG\n,rejects,VBZ,O\nS 2,Ada,NNP,B-PER\n", {}),
        ("a.csv", "satz,wort,art\n1,EU,B-ORG\n1,rejects,O\n2,Ada,B-PER\n",
         {"sentence": "satz", "tokens": "Wort", "ner_tags": "art"}),
        ("a.csv", "sentence,tags\nEU rejects,\"['B-ORG', 'O']\"\nAda,['B-PER']\n", {}),
        ("a.csv", 'tokens;ner_tags\n"[""EU"", ""rejects""]";"[""B-ORG"", ""O""]"\n["Ada"];["B-PER"]\n', {}),
        ("a.csv", "gold,source\nB-ORG O,EU rejects\nB-PER,Ada\n", {"tokens": "source", "ner_tags": "gold"}),
        ("a.csv", "EU,B-ORG\nrejects,O\n,\nAda,B-PER\n", {}),
        ("a.csv", "word,,,tag\nEU,x,,B-ORG\nrejects,x,,O\n\nAda,x,,B-PER\n", {}),
        ("a.csv", "word,tag,sentence_id\nEU,B-ORG,1\nrejects,O,2\n\nAda,B-PER,3\n", {"sentence": ""}),
        ("a.tsv", "wort\tpos\tart\nEU\tNNP\tB-ORG\nrejects\tVBZ\tO\n\nAda\tNNP\tB-PER\n", {}),
        ("a.tsv", "art\twort\nB-ORG\tEU\nO\trejects\n\nB-PER\tAda\n", {"tokens": "wort", "ner_tags": "art"}),
        ("a.txt", "B-ORG EU\nO rejects\n\nB-PER Ada\n", {}),
        ("a.conll", "1 EU x B-ORG y\n2 rejects x O y\n\n1 Ada x B-PER y\n", {"tokens": "2", "ner_tags": "4"}),
        ("a.jsonl", lines({"tags": 1, "w": ["EU", "rejects"], "t": ["B-ORG", "O"]},
                          {"tags": 2, "w": ["Ada"], "t": ["B-PER"]}), {"tokens": "w", "ner_tags": "t"}),
        ("a.jsonl", lines({"ner_tags": [7, 7], "words": ["EU", "rejects"], "gold": ["B-ORG", "O"]},
                          {"ner_tags": [7], "words": ["Ada"], "gold": ["B-PER"]}), {"ner_tags": "gold"}),
    ],
)  # fmt: skip
def test_words_and_labels_are_read_from_the_columns_that_are_meant(name, text, columns, write):
    found = tagged.load_sentences(find_task("tokens"), write(name, text), intake=Intake(columns=columns))
    assert [(e.words, e.tags) for e in found] == READ_OF_WORDS


@pytest.mark.parametrize(
    ("name", "text", "columns", "said"),
    [
        (
            "a.csv",
            "word,tag\nEU,B-ORG\n",
            {"ner_tags": "gold"},
            "has no column “gold”: its columns are word, tag",
        ),
        ("a.conll", "EU B-ORG\nis O\n", {"tokens": "2", "ner_tags": "2"}, "`ner_tags` are one column, “2”"),
        ("a.conll", "EU B-ORG\n", {"ner_tags": "3"}, "has no column “3”: its columns are 1 to 2"),
        ("a.csv", "word,tag\nEU,B-ORG\nis,O,x\n", {}, "line 3: 3 columns here, 2 in the first line"),
        ("a.csv", 'word,tag\nEU,B-ORG\n"is,O\n', {}, "line 3: this is no CSV"),
        ("a.csv", "tokens,tags\nEU is,B-ORG O\nAda,B-PER O\n", {}, "line 3: 1 word has 2 labels. Give"),
    ],
)
def test_what_is_wrong_in_a_table_of_words_is_named(name, text, columns, said, write):
    with pytest.raises(UserError, match=said):
        tagged.load_sentences(find_task("tokens"), write(name, text), intake=Intake(columns=columns))
    if not columns:
        intake = Intake(skip=True)
        kept = tagged.load_sentences(find_task("tokens"), write(name, text + "\n\nof,O\n"), intake=intake)
        assert kept and intake.left_out == 1


def test_pairs_are_read_from_the_columns_that_are_meant(write):
    path = write("a.csv", "likeness,b,label,a\n4.5,second text,x,first text\n")
    columns = {"sentence1": "a", "sentence2": "b", "label": "likeness"}
    (one,) = load_pairs(find_task("embeddings"), str(path), "train", Intake(columns=columns))
    assert (one.first, one.second, one.label) == ("first text", "second text", 4.5)


QUERY = ("q", ("a", "b"), {1: 1.0})


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.jsonl", lines({"frage": "q", "docs": ["a", "b"], "gold": [1], "query": "other"}),
         {"query": "frage", "passages": "docs", "relevant": "gold"}),
        ("a.csv", 'query,docs,relevant\nq,"[""a"", ""b""]",1\n', {"passages": "docs"}),
        ("a.csv", "query,docs,relevant\nq,\"['a', 'b']\",[1]\n", {"passages": "docs"}),
        ("a.csv", "query,docs,relevant\nq,\"['a', 'b']\",[1]\nr,\"['a', 'b']\",[]\n", {"passages": "docs"}),
        ("a.csv", "gut,doc,frage\n0,a,q\n1,b,q\n", {"query": "frage", "passages": "doc", "relevant": "gut"}),
        ("a.jsonl", lines({"q": "q", "yes": "b", "no": ["a"]}), {"query": "q", "positive": "yes", "negative": "no"}),
    ],
)  # fmt: skip
def test_queries_are_read_from_the_columns_that_are_meant(name, text, columns, write):
    (one,) = queries.load_queries(str(write(name, text)), "train", Intake(columns=columns))
    assert (one.query, one.passages, dict(one.gains)) == QUERY


def test_questions_are_read_from_the_columns_that_are_meant(write):
    path = write("a.csv", "wo,was,wer\nBees fly to Kew.,Where?,Kew\n")
    columns = {"question": "was", "context": "wo", "answer": "wer"}
    (one,) = squad.load_squad(path, intake=Intake(columns=columns))
    assert (one.question, one.context, one.answers) == (
        "Where?", "Bees fly to Kew.", [{"text": "Kew", "answer_start": 12}],
    )  # fmt: skip


def test_a_column_that_is_named_goes_before_one_of_the_right_name(write):
    for name, text in (
        ("a.jsonl", lines({"review": "mine", "sentence": "not mine", "label": 1})),
        ("a.csv", "review,sentence,label\nmine,not mine,1\n"),
    ):
        intake = Intake(columns={"sentence": "review"})
        (one,) = texts.load_texts(find_task("sst2"), write(name, text), intake=intake)
        assert (one.first, one.label) == ("mine", 1)


@pytest.mark.parametrize(
    ("task", "columns", "said"),
    [
        ("tokens", {"text": "a"}, "A row of Token labels has no 'text': name one of tokens, ner_tags, sentence, id"),
        ("sst2", {"text": "a"}, "A row of SST-2 has no 'text': name one of sentence, label, id, as --column sentence="),
        ("ranking", {"passage_text": "a"}, "name one of query, passages, relevant"),
        ("squad", {"passage": "a"}, "name one of question, context, answer"),
        ("embeddings", {"sentence1": "a", "sentence2": "A"}, "“A” was named for both `sentence1` and `sentence2`"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(task, columns, said, write):
    with pytest.raises(UserError, match=said):
        uploads.accept(write("a.jsonl", lines({"a": "b"})), task=task, columns=columns)


@pytest.mark.parametrize(
    ("task", "columns", "rows", "texts_of"),
    [
        ("embeddings", {"sentence1": "a", "label": "like"}, [{"a": "x", "b": "y"}, {"a": "z", "like": 3}],
         [("x", None), ("z", 3.0)]),
        ("sst2", {"sentence": "a", "label": "urteil"}, [{"a": "x", "urteil": 1}, {"a": "z"}], [("x", 1)]),
    ],
)  # fmt: skip
def test_a_row_may_lack_a_column_that_a_person_names_and_others_have(task, columns, rows, texts_of, write):
    path, intake = write("a.jsonl", lines(*rows)), Intake(columns=columns, skip=True, complete=True)
    found = list(texts.from_file(find_task(task), path, intake))
    assert [(one.first, one.label) for one in found] == texts_of
    with pytest.raises(UserError, match="has no column “nowhere”: its columns are a, "):
        list(texts.from_file(find_task(task), path, Intake(columns=columns | {"label": "nowhere"}, skip=True)))


def test_triples_some_without_negatives_are_taken_as_they_are_guessed(write):
    rows = [{"anchor": f"q{i}", "pos": f"p{i}"} | ({"neg": "n"} if i else {}) for i in range(4)]
    path = write("a.jsonl", lines(*rows))
    found = uploads.sheet(path, "ranking")
    assert found is not None and found.guess == {"query": "anchor", "positive": "pos", "negative": "neg"}
    kept = uploads.accept(path, task="ranking", columns=found.guess)
    read = [one for part in kept.parts.values() for one in queries.load_queries(str(part), "", Intake())]
    assert {one.query: one.passages for one in read} == {
        "q0": ("p0",), "q1": ("n", "p1"), "q2": ("n", "p2"), "q3": ("n", "p3"),
    }  # fmt: skip


def test_a_guess_takes_no_column_that_a_person_names(write):
    path = write("a.csv", "body,title,stars\nthe text,the head,1\nanother,its head,2\n")
    (one, _) = texts.load_texts(
        own_texts.settled(find_task("labels"), {"second": "title"}).with_labels(["1", "2"]),
        path,
        intake=Intake(columns={"second": "title", "text": "body"}),
    )
    assert (one.first, one.second) == ("the text", "the head")
    names = own_texts.columns_of(find_task("labels")).renamed(
        ["title", "summary", "stars"], Intake(columns={"second": "title"})
    )
    assert names == {"title": "second", "stars": "label"}


PAIRS = "text,second,label\n" + "".join(f"text {i},reply {i},{'yes' if i % 2 else 'no'}\n" for i in range(9))


def test_pairs_are_read_as_pairs_where_nobody_says_what_the_columns_are(write):
    path = write("a.csv", PAIRS)
    paired = uploads.accept(path, task="labels")
    assert paired.columns == ["text", "second"] and paired.more["columns"] == {"second": "second"}
    assert "“second” was read as the second text of each pair: `--column second=` reads single texts." in paired.notices
    single = uploads.accept(path, task="labels", columns={"second": ""})
    assert single.columns == ["text"] and not [told for told in single.notices if "second" in told]
    named = uploads.accept(path, task="labels", columns={"text": "second"})
    assert named.columns == ["text"]


@pytest.mark.parametrize(
    ("header", "cells"),
    [("text,text_b,label", ("",)), ("text,text_b,label", ("a reply", "")), ("text,second,label", ("12", "59"))],
)
def test_a_column_of_blanks_or_numbers_is_no_second_text(header, cells, write):
    lines_of = [f"text {i},{cells[i % len(cells)]},{'yes' if i % 2 else 'no'}" for i in range(9)]
    upload = uploads.accept(write("a.csv", "\n".join([header, *lines_of]) + "\n"), task="labels")
    assert upload.columns == ["text"] and upload.examples == 9
    assert any("was not read" in told for told in upload.notices) == ("a reply" in cells)


@pytest.mark.parametrize("column", ["second", "text_b", "sentence2"])
def test_a_second_text_that_is_not_read_is_told(column, write):
    path, task = write("a.csv", PAIRS.replace("second", column)), find_task("labels").with_labels(["no", "yes"])
    told, quiet = Intake(), Intake(columns={"second": ""})
    assert texts.load_texts(task, path, intake=told)[1].second is None
    assert [sentence.partition(":")[0] for sentence in told.sentences] == [f"The column “{column}” was not read"]
    texts.load_texts(task, path, intake=quiet)
    assert not quiet.sentences


def test_numbers_of_thousands_of_digits_are_told(write):
    long = "9" * 5000
    with pytest.raises(UserError, match="line 2: “relevant” is no list of numbers"):
        queries.load_queries(str(write("a.csv", f'query,passages,relevant\nq,"[""a""]",{long}\n')), "train", Intake())
    with pytest.raises(UserError, match="line 1: “passages” is no list of texts"):
        queries.load_queries(str(write("a.jsonl", lines({"query": "q", "passages": []}))), "train", Intake())
    with pytest.raises(UserError, match="line 1: the label 9{40} is a number"):
        tagged.load_sentences(find_task("conll2003"), write("a.conll", f"EU {long}\nis 0\n"))


def test_numbers_as_labels_are_no_head(write):
    intake = Intake(values={"B-ORG": "3", "O": "0"})
    (one,) = tagged.load_sentences(find_task("tokens"), write("a.csv", "EU,3\nrejects,0\n"), intake=intake)
    assert (one.words, one.tags) == READ_OF_WORDS[0]


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [("a.csv", "art,wort\norg,EU\nO,is\n", {"tokens": "wort"}), ("a.conll", "org EU\nO is\n", {"tokens": "2"})],
)
def test_a_word_whose_column_is_named_is_not_its_own_label(name, text, columns, write):
    (one,) = tagged.load_sentences(find_task("tokens"), write(name, text), intake=Intake(columns=columns))
    assert (one.words, one.tags) == (("EU", "is"), ("org", "O"))


def test_columns_of_one_name_are_told_apart_by_their_numbers(write):
    found = uploads.sheet(write("a.csv", "word,,,tag\nEU,x,y,B-ORG\n"), "tokens")
    assert found is not None and found.guess == {"tokens": "word", "ner_tags": "tag"}
    assert found.keys == {"word": "word", "2": "2 (x)", "3": "3 (y)", "tag": "tag"}
    again = uploads.sheet(write("a.csv", "word,x,x\nEU,y,B-ORG\n"), "tokens")
    assert again is not None and again.guess == {"tokens": "word", "ner_tags": "3"}


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("['it''s']", None),
        ('["a", "it\'s"]', ["a", "it's"]),
        ("['a', \"it's\"]", ["a", "it's"]),
        ("['a' 'b']", None),  # as numpy writes it, which Python would read as one text
        ("[1, 2]", [1, 2]),
        ("[]", []),
        ("[", None),
        ("[" * 100_000, None),
        ("[1" + " " * 200_000 + "x]", None),
        ("['1'" + " " * 200_000 + "x]", None),
        ("['1' , 'b' , ]", ["1", "b"]),
        ("[__import__('os')]", None),
        ("a", None),
        (("a",), ["a"]),
    ],
)
def test_lists_in_cells(cell, found, bounded):
    assert listed(cell) == found
