"""The command line of the zoo; and that a token is nowhere after it was used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_state import User
from tests.zoo.command_kit import call
from zoo import library
from zoo.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ROOT = Path(__file__).parents[2]
REPO = "writer/tiny"
CANARY = "hf_CanaryCanaryCanary0123456789"


@pytest.fixture(autouse=True)
def signed_in(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")


def test_list_as_a_table_and_as_json(local_hub):
    table = call("list", "--sort", "bytes")
    lines = [line.split()[0] for line in table.splitlines()]
    bundled = [
        "minilm-l6-qa-length-adaptive-int8",
        "minilm-l6-w8a8-stsb-int8",
        "minilm-l6-sst2-length-adaptive-int8",
        "minilm-l6-mnli-length-adaptive-int8",
        "minilm-l6-embeddings-length-adaptive-int8",
        "minilm-l6-qa",
    ]
    assert lines == bundled
    found = json.loads(call("list", "int8", "--json", "--sort", "bytes"))
    assert [row["name"] for row in found["models"]] == bundled[:5]
    assert found["models"][0]["score"] > 50 and found["banner"] == ""
    assert not local_hub.log, "the Hub is asked with --hub only"


def test_publish_shows_asks_and_publishes(local_hub, light):
    shown = call("publish", light, REPO, "--dry-run")
    assert "private repository writer/tiny" in shown and "# Tiny, int8" in shown and "front.json" in shown
    with pytest.raises(UserError, match="Nothing was published"):
        call("publish", light, REPO, answer="n\n")
    assert not local_hub.repos
    library.register(light)
    done = call("publish", light, REPO, "--tag", "first", answer="y\n")
    assert "logits equal" in done and local_hub.repo(REPO).tags == {"first": local_hub.repo(REPO).head}
    assert "nothing had changed" in call("publish", "tiny-int8", REPO, "--yes")
    assert json.loads(call("list", "--json", "Tiny"))["models"][0]["url"].endswith(REPO)
    assert "writer/tiny" not in call("list", "--hub"), "private ones are nobody else's business"


def test_public_ones_are_listed_verified_and_pulled(local_hub, light):
    call("publish", light, REPO, "--yes", "--public")
    assert "writer/tiny" in call("list", "--hub")
    assert "right SHA-256" in call("verify", REPO, "--folder", light)
    told = call("pull", REPO)
    assert "files, 0.0 MB" in told and local_hub.repo(REPO).head in told
    local_hub.put(REPO, {"front.json": (light / "front.json").read_bytes() + b"\n"})
    with pytest.raises(UserError, match="NOT VERIFIED: front.json"):
        call("verify", REPO, "--folder", light)


def test_without_a_token_it_says_where_to_get_one(local_hub, light, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with pytest.raises(UserError, match="HF_TOKEN"):
        call("publish", light, REPO, "--yes")


def test_deploy_in_a_dry_run(local_hub):
    told = call("deploy", "writer/zoo", "--dry-run", "--variable", "A=b", "--preset", "full")
    assert "set  variable A=b" in told and "BUDGET_ZOO_PRESET=full" in told and "Nothing was done" in told
    with pytest.raises(UserError, match="KEY=VALUE"):
        call("deploy", "writer/zoo", "--variable", "A")
    assert not local_hub.repos


def run(words: list[str], folder: Path, hub_url: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A process of its own with nothing of this one's huggingface_hub; all that it writes lies in `folder`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "BUDGET_")) and "proxy" not in k.lower()}
    for name in ("tmp", "hf", "home"):
        (folder / name).mkdir(exist_ok=True)
    env |= {"HF_HOME": str(folder / "hf"), "BUDGET_ZOO_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    env |= {"HF_ENDPOINT": hub_url, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **more}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=280)


def test_a_published_model_runs_from_its_card_and_the_token_is_nowhere(local_hub, int8, tmp_path):
    """The whole journey in processes of their own: refused, disturbed, published, verified, run by the card's snippet;
    then everything that was written is searched for the token."""
    folder = tmp_path / "journey"
    folder.mkdir()
    told = [run(["-m", "zoo", "publish", str(int8), REPO, "--yes"], folder, local_hub.url, HF_TOKEN=CANARY)]
    assert told[0].returncode == 2 and "does not know this token" in told[0].stderr

    local_hub.tokens[CANARY] = User("writer")
    local_hub.faults |= {"commit": [500], "upload": [500], "collection": [403]}
    publish = ["-m", "zoo", "publish", str(int8), REPO, "--yes"]
    told.append(run(publish, folder, local_hub.url, HF_TOKEN=CANARY, HF_DEBUG="1"))
    assert told[-1].returncode == 0, told[-1].stderr
    assert "logits equal" in told[-1].stdout and local_hub.count("commit") == 2

    readme = local_hub.files(REPO)["README.md"].decode()
    snippet = next(code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if "hf_hub_download" in code)
    assert len(snippet.splitlines()) < 20
    told.append(run(["-c", snippet], folder, local_hub.url, HF_TOKEN=CANARY))
    assert told[-1].returncode == 0, told[-1].stderr
    answer = told[-1].stdout.strip()
    assert answer and answer in "The Angara is the only river that leaves the lake."

    for done in told:
        assert CANARY not in done.stdout and CANARY not in done.stderr
    written = [path for place in (folder, int8.parents[1]) for path in place.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
    assert all(CANARY.encode() not in data for data in local_hub.files(REPO).values())
