"""The catalogue in SQLite: what is found, sorted and kept, and what becomes of a broken or newer file."""

from __future__ import annotations

import shutil
import sqlite3
import threading

import pytest

from zoo import catalog, hub, library, shelf
from zoo.errors import UserError
from zoo.files import write_json
from zoo.library import Query
from zoo.settings import get_settings

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
CARD = """---
license: mit
pipeline_tag: question-answering
base_model: org/base
tags: [budget-zoo, int8]
budget_zoo: {method: length-drop, parameters: 1000, bytes: 5000, p50_ms: 3.5}
model-index:
- name: x
  results:
  - task: {type: question-answering}
    dataset: {type: rajpurkar/squad, name: SQuAD}
    metrics: [{type: f1, name: F1, value: 77.5}]
---
# One
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield tmp_path / "home"
    get_settings.cache_clear()


def result(models, name="mine"):  # noqa: F811
    """A local result like `plain`, elsewhere."""
    folder = models.parent / "results" / name
    shutil.copytree(models / "plain", folder)
    facts = {"title": f"Result {name}", "task": "qa", "method": "tuned", "metrics": {"f1": 70.5}}
    write_json(folder / "entry.json", {"name": name, **facts})
    return folder


def names(refresh=False, **options):
    return [row.name for row in library.listing(Query(**options), refresh).rows]


def test_a_score_of_few_examples_never_comes_first(models):
    for name, score, n in (("few", 99.0, 40), ("many", 60.0, 1000), ("unsaid", 50.0, None)):
        folder = result(models, name)
        facts = {"name": name, "task": "qa", "metrics": {"f1": score, **({"n": n} if n else {})}}
        write_json(folder / "entry.json", facts)
        library.register(folder)
    found = library.listing(Query(origin="local", sort="score", descending=True)).rows
    assert [(row.name, row.n) for row in found] == [("many", 1000), ("unsaid", None), ("few", 40)]
    assert names(origin="local", sort="score")[-1] == "few"


def test_a_result_from_before_counts_were_kept_is_shown_with_its_own(models, home):
    folder = result(models)
    library.register(folder)
    facts = {"name": "mine", "task": "qa", "metrics": {"f1": 70.5, "n": 300}}
    write_json(folder / "entry.json", facts)
    (row,) = library.listing(Query(origin="local")).rows
    assert row.n == 300


def test_a_latency_is_listed_with_what_it_was_measured_on(models):
    folder = result(models)
    stamp = {"latency_tokens": 384, "threads": 2, "cpu": "A CPU", "vnni": True, "disturbed": True}
    facts = {"name": "mine", "task": "qa", "metrics": {"f1": 70.5, "p50_ms": 5.0, **stamp}}
    write_json(folder / "entry.json", facts)
    row = library.register(folder)
    assert (row.p50_ms, row.tokens) == (5.0, 384)
    assert row.timed == "384 tokens, 2 threads, A CPU with VNNI, the machine was busy"


@pytest.mark.usefixtures("models")
def test_what_ships_is_listed_with_its_figures():
    found = library.listing()
    assert [row.name for row in found.rows] == ["plain", "small"] and found.banner == ""
    plain, small = found.rows
    assert (plain.origin, plain.license, plain.base_model, plain.score) == ("bundled", "mit", "org/base", 82.0)
    assert small.int8 is True and plain.int8 is False and small.p50_ms is None and plain.parameters == 6


def test_a_registered_result_is_listed_found_and_keeps_its_name(models):  # noqa: F811
    folder = result(models)
    row = library.register(folder)
    assert (row.name, row.origin, row.folder) == ("mine", "local", str(folder))
    assert library.register(folder).name == "mine" and names() == ["mine", "plain", "small"]
    assert catalog.find("mine").folder == folder and catalog.find("mine").name == "mine"


def test_taken_names_get_a_number(models):  # noqa: F811
    first, second = result(models, "plain"), models.parent / "more" / "plain"
    shutil.copytree(first, second)
    assert library.register(first).name == "plain-2" and library.register(second).name == "plain-3"
    assert catalog.find("plain").folder == models / "plain" and catalog.find("plain-3").folder == second


def test_a_recipe_may_start_from_a_registered_result(models):  # noqa: F811
    folder = result(models)
    library.register(folder)
    assert catalog.checkpoint_of(" mine ") == folder.resolve() == catalog.find("mine").folder


def test_results_that_are_gone_are_dropped(models):  # noqa: F811
    folder = result(models)
    library.register(folder)
    shutil.rmtree(folder)
    assert shelf.folder_of("mine") is None and names() == ["plain", "small"]


def test_where_a_result_was_published_stays_known(models):  # noqa: F811
    folder = result(models)
    library.register(folder)
    shelf.note_published(folder, "https://hub.test/me/mine")
    library.register(folder)
    (row,) = library.listing(Query(origin="local")).rows
    assert row.url == "https://hub.test/me/mine"


def test_whose_results_are_shown(models):  # noqa: F811
    library.register(result(models, "hers"), owner="ann")
    library.register(result(models, "everybodys"))
    assert names(origin="local", owner="ben") == ["everybodys"]
    assert names(origin="local", owner="ann") == ["everybodys", "hers"] == names(origin="local")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"text": "PLAIN"}, ["plain"]),
        ({"text": "org tuned"}, []),
        ({"text": "result tuned"}, ["mine"]),
        ({"text": "100%' OR 1=1 --"}, []),
        ({"method": "tuned"}, ["mine"]),
        ({"base_model": "org/base"}, ["plain"]),
        ({"int8": True}, ["small"]),
        ({"license": "mit"}, ["plain"]),
        ({"min_score": 81.0}, ["plain", "small"]),
        ({"max_bytes": 10}, ["small"]),
        ({"max_p50_ms": 9.0}, []),
        ({"sort": "score"}, ["mine", "small", "plain"]),
        ({"sort": "score", "descending": True}, ["plain", "small", "mine"]),
        ({"sort": "base_model"}, ["plain", "mine", "small"]),
    ],
)
def test_search_filter_and_sort(models, options, expected):  # noqa: F811
    library.register(result(models))
    assert names(**options) == expected


def test_only_columns_sort():
    with pytest.raises(UserError, match="cannot be sorted"):
        library.listing(Query(sort="name; DROP TABLE models"))


@pytest.mark.usefixtures("models")
def test_the_hubs_models_are_kept_for_when_it_is_away(local_hub, monkeypatch):
    local_hub.put("ann/one", {"README.md": CARD.encode()})
    local_hub.put("ann/other", {"README.md": b"---\ntags: [x]\n---\n"})
    local_hub.put("ben/secret", {"README.md": CARD.encode()}, private=True)
    found = library.listing(Query(origin="hub"), refresh=True)
    (row,) = found.rows
    assert (row.name, row.score, row.license, row.base_model) == ("ann/one", 77.5, "mit", "org/base")
    assert (row.parameters, row.bytes, row.p50_ms, row.int8, row.method) == (1000, 5000, 3.5, True, "length-drop")
    assert row.url == f"{local_hub.url}/ann/one" and found.banner == "" and row.task == "qa"

    local_hub.faults["list"] = [500] * 9
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    again = library.listing(refresh=True)
    assert [r.name for r in again.rows] == ["ann/one", "plain", "small"]
    assert "The Hub has trouble" in again.banner and "seen on 20" in again.banner


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ("budget_zoo: {metric: matthews, score: 51.5}", ("matthews", 51.5)),
        ("budget_zoo: {metric: bleu, score: 51.5}", ("", None)),
        ("budget_zoo: {metric: [f1], score: high, f1: 77}", ("f1", 77.0)),
    ],
)
@pytest.mark.usefixtures("models")
def test_what_a_card_states_is_scored_in_its_own_metric(local_hub, facts, expected):
    local_hub.put("ann/one", {"README.md": f"---\ntags: [budget-zoo]\n{facts}\n---\n".encode()})
    (row,) = library.listing(Query(origin="hub"), refresh=True).rows
    assert (row.metric, row.score) == expected


def test_a_classifier_is_listed_with_its_metric(models):  # noqa: F811
    folder = result(models)
    facts = {"name": "mine", "title": "Mine", "task": "classification", "metrics": {"accuracy": 91.5, "f1": 90}}
    write_json(folder / "entry.json", facts)
    assert (library.register(folder).metric, library.register(folder).score) == ("accuracy", 91.5)
    assert names(sort="score", descending=True)[0] == "mine" and names(min_score=91) == ["mine"]


@pytest.mark.usefixtures("models")
def test_offline_from_the_start_says_what_is_missing():
    found = library.listing(refresh=True)
    assert len(found.rows) == 2 and "offline" in found.banner and "this machine" in found.banner


@pytest.mark.usefixtures("models")
def test_a_hostile_card_becomes_a_plain_row(local_hub):
    evil = "---\ntags: [budget-zoo]\nlicense: {a: 1}\nbudget_zoo: [1]\nbase_model: 7\nmodel-index: 3\n---\n"
    local_hub.put("ann/evil", {"README.md": evil.encode()})
    local_hub.put("ann/huge", {"README.md": b"---\ntags: [budget-zoo]\nbudget_zoo: {bytes: 1.0e+300}\n---\n"})
    evil_row, huge = library.listing(Query(origin="hub"), refresh=True).rows
    assert (evil_row.license, evil_row.base_model, evil_row.bytes, evil_row.method) == ("", "", None, "")
    assert huge.bytes is None


@pytest.mark.usefixtures("models")
def test_only_one_owners_models_where_that_is_set(local_hub, monkeypatch):
    local_hub.put("ann/one", {"README.md": CARD.encode()})
    local_hub.put("ben/one", {"README.md": CARD.encode()})
    monkeypatch.setenv("BUDGET_ZOO_HUB_AUTHOR", "ben")
    get_settings.cache_clear()
    assert names(refresh=True, origin="hub") == ["ben/one"]


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_broken_file_is_set_aside(models, home, damage):  # noqa: F811
    library.register(result(models))
    for path in home.glob(f"{shelf.FILE}*"):
        path.unlink()
    (home / shelf.FILE).write_bytes(damage)
    found = library.listing()
    assert [row.name for row in found.rows] == ["plain", "small"] and "broken" in found.banner
    assert any(path.read_bytes() == damage for path in home.glob("library.sqlite.broken-*"))
    assert library.listing().banner == ""


@pytest.mark.usefixtures("models")
def test_a_newer_file_is_refused_and_left_as_it_is(models, home):  # noqa: F811
    folder = result(models)
    library.register(folder)
    with sqlite3.connect(home / shelf.FILE) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match="newer version"):
        library.register(folder)
    found = library.listing()
    assert [row.name for row in found.rows] == ["plain", "small"] and "newer version" in found.banner
    with sqlite3.connect(home / shelf.FILE) as database:
        assert database.execute("SELECT count(*) FROM models").fetchone()[0] >= 1
    with pytest.raises(UserError, match="no folder|no model id|asked the Hub"):
        catalog.find("./mine")


@pytest.mark.usefixtures("models")
def test_an_older_file_is_brought_up_to_date_and_keeps_its_rows(home):
    home.mkdir()
    with sqlite3.connect(home / shelf.FILE) as database:
        for statement in filter(str.strip, shelf.MIGRATIONS[0].split(";")):
            database.execute(statement)
        database.execute("INSERT INTO models VALUES ('hub','a/b','B','qa','m','',1,2,3.0,4.0,1,'mit','u','')")
        database.execute("PRAGMA user_version = 1")
    (row,) = library.listing(Query(origin="hub")).rows
    assert (row.name, row.owner, row.metric, row.score) == ("a/b", "", "f1", 3.0)
    with sqlite3.connect(home / shelf.FILE) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(shelf.MIGRATIONS),)


def test_many_at_once(models):  # noqa: F811
    folders = [result(models, f"r{number}") for number in range(6)]
    failures: list[BaseException] = []

    def go(folder):
        try:
            library.register(folder)
            library.listing()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=go, args=[folder]) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(names(origin="local")) == 6


def test_looking_up_a_name_makes_no_file(home):
    assert shelf.folder_of("anything") is None and not home.exists()


def test_the_hub_is_asked_for_the_tag(monkeypatch):
    from huggingface_hub import HfApi

    asked = {}
    monkeypatch.setattr(HfApi, "list_models", lambda self, **options: asked.update(options) or iter(()))
    assert hub.zoo_models("ann") == [] and asked["filter"] == "budget-zoo" and asked["author"] == "ann"
