"""On a full Space nobody opens another person's result by its name, by whatever way the name comes."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.context import LocalContext
from gradio.routes import App
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.testclient import TestClient

from compress.recipe.load import load
from compress.recipe.place import owned
from tests.ui.desk_kit import FakeAnswerer
from tests.ui.page_kit import Driver, loops_closed, visitor
from ui.api import add_endpoints
from ui.desk import Desk
from zoo import catalog, library, settings
from zoo.errors import UserError
from zoo.settings import get_settings


def session_of(name):
    account = {"name": name, "preferred_username": name, "profile": "", "picture": ""}
    return {"oauth_info": {"access_token": "hf_x", "userinfo": account}} if name else {}


class SignedIn:
    """Who signed in, by a header: what gradio's sign-in leaves in the session."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            name = dict(scope["headers"]).get(b"x-name", b"").decode()
            scope = {**scope, "session": session_of(name)}
        await self._app(scope, receive, send)


@contextmanager
def event_of(name):
    """While an event of this person runs, as gradio notes it."""
    scope = {"type": "http", "headers": [], "client": ("10.0.0.1", 80), "session": session_of(name)}
    token = LocalContext.request.set(gr.Request(Request(scope)))
    try:
        yield
    finally:
        LocalContext.request.reset(token)


@pytest.fixture
def results(tiny_model, tmp_path, monkeypatch):
    """A Space with a result of ann's and one of nobody's."""
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(settings, "_on_space", lambda: True)
    get_settings.cache_clear()
    for name, owner in (("anns", "ann"), ("everybodys", "")):
        folder = tmp_path / "home" / "jobs" / name
        shutil.copytree(tiny_model, folder)
        library.register(folder, owner)
    return tmp_path / "home" / "jobs"


@pytest.fixture
def desk(results):
    return Desk(answerer=FakeAnswerer)


def test_the_endpoints_open_ones_own_results_alone(desk):
    with loops_closed(), gr.Blocks(analytics_enabled=False) as demo:
        add_endpoints(desk, "minilm-l6-qa", ("", ""), {"queue": False})
    demo.max_file_size = None
    with loops_closed():
        app = App.create_app(demo, app_kwargs={"middleware": [Middleware(SignedIn)]})
        client = TestClient(app, base_url="http://127.0.0.1")

        def call(endpoint, name, *data):
            said = client.post(f"/gradio_api/run/{endpoint}", json={"data": list(data)}, headers={"x-name": name})
            return said.status_code == 200

        question = ("Who?", "Ada wrote it.", "anns", 100.0, "macs", "torch", None, None, False)
        for _ in range(2):  # the second time what the first has found is at hand
            assert call("front", "ann", "anns") and call("answer", "ann", *question)
            for stranger in ("bob", ""):
                assert not call("front", stranger, "anns") and not call("answer", stranger, *question)
                assert call("front", stranger, "everybodys")


def test_the_page_loads_ones_own_results_alone(built, desk, results, monkeypatch):
    selecting, parts = built.explore.selecting, built.explore.parts
    monkeypatch.setattr(selecting, "desk", desk)
    send = Driver(built.demo, parts, {"unit": "macs", "engine": "torch"}).send

    def load(name):
        with event_of(name):
            return send(selecting.load, visitor(), other="anns")[parts.hint]["value"]

    assert "anns" in load("bob") and load("ann") == "" and "anns" in load("bob") and "anns" in load("")


def test_no_model_leads_to_anothers_result_as_its_full_precision(desk, results):
    """Whoever brings a model may write any name into it."""
    entry = SimpleNamespace(folder=results.parent / "hub" / "none", full_precision="anns", revision="main")
    with event_of("bob"), pytest.raises(UserError):
        catalog.full_precision(entry)  # pyright: ignore[reportArgumentType]


def test_what_stands_beside_a_model_is_looked_for_by_each_person(results):
    looked = list[str]()
    desk = Desk(sibling=lambda entry: looked.append(entry.name))
    entry = desk.entry("everybodys")
    for person in ("ann", "bob", "ann"):
        with event_of(person):
            desk._reference_of(entry, "onnxruntime")
    assert looked == ["everybodys"] * 2


def test_what_is_no_event_finds_nobodys_results_alone(desk):
    assert desk.entry("everybodys").name == "everybodys"
    with pytest.raises(UserError):
        desk.entry("anns")


def test_no_recipe_takes_anothers_result(results):
    """A job runs where every result is found by its name, so it is asked before."""
    for names in (["model=anns"], ["model=minilm-l6-qa", "distill.apply=true", "distill.teacher=anns"]):
        recipe = load("distill" if len(names) > 1 else "static_int8", [*names, "dataset.evaluation=examples"])
        for stranger in ("bob", "-"):
            with pytest.raises(UserError, match="You have no result called anns"):
                owned(recipe, stranger)
        assert str(results / "anns") in owned(recipe, "ann").model_dump_json()
    everybodys = load("static_int8", ["model=everybodys"])
    assert owned(everybodys, "bob").model == str(results / "everybodys")


def test_off_a_space_every_result_is_found(desk, monkeypatch):
    monkeypatch.setattr(settings, "_on_space", lambda: False)
    assert desk.entry("anns").name == "anns"


def test_entries_are_found_by_person_and_models_kept_by_folder(desk, results):
    """Two people mean different models by one name: the Hub's, or a result of theirs."""
    with event_of("ann"):
        hers = desk.entry("anns")
    library.register(shutil.copytree(results / "anns", results.parent / "more" / "anns"), "bob")
    assert hers.folder == results / "anns"
    with event_of("bob"):
        his = desk.entry("anns-2")
    assert his.folder == results.parent / "more" / "anns" and desk.model(his, "torch") is not desk.model(hers, "torch")
