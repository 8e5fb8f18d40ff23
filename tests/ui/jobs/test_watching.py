"""What the tab shows of a job, from the files that its run left."""

from __future__ import annotations

import html

from compress.jobs import ledger
from compress.recipe.load import load
from tests.ui.page_kit import Driver
from zoo.files import write_json
from zoo.settings import get_settings


def test_a_job_shows_what_was_published_as_soon_as_it_has_a_result(built, monkeypatch, tmp_path):
    monkeypatch.setattr(get_settings(), "home", tmp_path)
    job = ledger.get_ledger().create(load("nncf_mnli"), "mine", "", "local")
    tab = built.jobs
    send = Driver(built.demo, tab.parts).send

    def head():
        return html.unescape(send(tab.watching.refresh, None, job=job.id)[tab.parts.head])

    assert "Published" not in head()
    facts = {"provenance": {"recipe": "nncf"}, "metrics": {"metric": "MNLI, matched", "accuracy": 66.1}}
    write_json(job.folder / "package" / "mine-int8" / "entry.json", facts)
    assert "NNCF, RoBERTa-large: Accuracy 90.60 in full precision, 89.25 compressed" in head()
