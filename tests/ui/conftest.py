"""Entries, a desk and a page over stand-ins for models: everything here runs without one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.ui.desk_kit import FakeAnswerer, make_point
from tests.ui.page_kit import loops_closed
from ui import page
from ui.desk import Desk
from zoo.catalog import Entry
from zoo.errors import UserError
from zoo.lengths import Front
from zoo.settings import get_settings


@pytest.fixture(scope="module", autouse=True)
def _home_of_its_own(tmp_path_factory):
    """What other modules' runs made are results of one's own here, and stand in every list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUDGET_ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


@pytest.fixture
def front():
    return Front(
        full=make_point((1.0, 1.0), 1.0, 80.0, 20.0),
        points=[
            make_point((0.5, 0.2), 0.4, 70.0, 9.0),
            make_point((0.8, 0.4), 0.6, 79.2, 13.0),
            make_point((0.9, 0.6), 0.75, 79.8, 16.0),
        ],
        measured_on={"metric": "F1", "n": 10, "cpu": "A | B"},
        dominated=[make_point((0.9, 0.3), 0.7, 75.0, 15.0)],
    )


@pytest.fixture
def entry(front, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "model_type": "bert"})
    )
    return Entry(
        name="small",
        folder=tmp_path,
        method="length_adaptive",
        task="qa",
        base_model="base",
        parameters=1_000_000,
        bytes=2_000_000,
        metrics={"f1": 80.0},
        front=front,
        engines=["onnxruntime", "openvino", "torch"],
        license="apache-2.0",
        title="Small <b>one</b>",
        card="",
    )


@pytest.fixture
def desk(entry, tmp_path, monkeypatch):
    """A desk over fakes; `desk.made` lists the answerers that were loaded."""
    made = []

    def find(name):
        if name != entry.name:
            raise UserError(f"There is no {name}.")
        return entry

    def make(which, engine):
        made.append(FakeAnswerer(which, engine))
        return made[-1]

    monkeypatch.setattr("zoo.latency.disturbed", lambda: False)
    monkeypatch.setattr("zoo.latency.get_settings", lambda: SimpleNamespace(home=tmp_path / "home", threads=1))
    found = Desk(find, lambda e: e, make)
    found.made = made  # pyright: ignore[reportAttributeAccessIssue]
    return found


@pytest.fixture
def make_classifier(front, tmp_path):
    """Classifiers by their labels; one label is a score's."""

    def make(name, labels, metrics=None, with_front=True):
        folder = tmp_path / name
        folder.mkdir()
        config = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "model_type": "bert"}
        (folder / "config.json").write_text(json.dumps({**config, "id2label": dict(enumerate(labels))}))
        points = [replace(p, metrics={"accuracy": p.score}) for p in front.everything]
        return Entry(
            name=name,
            folder=folder,
            method="static-int8",
            task="classification",
            base_model="base",
            parameters=1_000_000,
            bytes=2_000_000,
            metrics=metrics or {"accuracy": 80.0},
            front=Front(points[-1], points[:-1]) if with_front else None,
            engines=["onnxruntime", "torch"],
            license="mit",
            title=f"The {name}",
            card="",
        )

    return make


NOW = 1_000_000.0


@pytest.fixture
def make_job():
    """Jobs as the queue tells them; what is not given is of one that runs."""
    from compress.jobs.ledger import Job

    def make(**changes):
        values = {
            "id": "j1",
            "name": "static_int8",
            "kind": "quantize",
            "model": "minilm-l6-qa",
            "owner": "",
            "launcher": "local",
            "state": "running",
            "reason": "",
            "stage": "length_drop",
            "step": 3,
            "total": 12,
            "eta_s": 75.0,
            "created": NOW - 200,
            "started": NOW - 100,
            "ended": None,
            "folder": Path("j1"),
            "published": None,
        }
        return Job(**(values | changes))

    return make


@pytest.fixture(scope="module")
def built():
    """The whole page and its tabs by name, over the bundled models; nothing runs."""
    tabs = {}
    with pytest.MonkeyPatch.context() as patch, loops_closed():
        for name in ("explore", "compare", "compress", "jobs", "models"):
            real = getattr(page, f"build_{name}")
            patch.setattr(page, f"build_{name}", lambda *args, real=real, name=name: tabs.setdefault(name, real(*args)))
        demo = page.build(Desk())
        yield SimpleNamespace(demo=demo, **tabs)
