"""The bundle of a Space: what is in it, that it starts as on a Space, and what a push changes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from zoo import deploy
from zoo.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ROOT = Path(__file__).parents[2]
TOKEN, SPACE = "hf_writer", "writer/zoo"
STARTUP_SECONDS = 240


@pytest.fixture
def small(tmp_path) -> Path:
    """A program of a few lines with the real files for a Space."""
    root = tmp_path / "program"
    shutil.copytree(ROOT / "spaces", root / "spaces")
    shutil.copyfile(ROOT / "requirements.lock", root / "requirements.lock")
    for name in ("app.py", "ui/__init__.py", "ui/old.py", "zoo/__init__.py", "compress/__init__.py"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {name}\n")
    (root / "zoo" / "models").mkdir()
    (root / "zoo" / "models" / "model.safetensors").write_bytes(bytes(1000))
    (root / "ui" / "__pycache__").mkdir()
    (root / "ui" / "__pycache__" / "old.pyc").write_bytes(b"x")
    (root / "ui" / ".hidden").write_text("x")
    return root


def push(root, dry_run=False, tell=None, **options):
    return deploy.deploy(SPACE, TOKEN, deploy.Space(**options), dry_run, root, tell)


def test_the_bundle_is_the_program_and_no_package_called_spaces():
    paths = {item.path for item in deploy.bundle()}
    assert {"app.py", "LICENSE", "README.md", "requirements.txt", "ui/style.css", "compress/recipe/load.py"} <= paths
    assert {"zoo/models/examples.json", "zoo/models/minilm-l6-qa/model.safetensors"} <= paths
    assert not [p for p in paths if p.startswith(("spaces", "tests", "runs", ".")) or "__pycache__" in p]


def test_the_card_asks_for_what_signing_in_needs():
    (card,) = (item.source for item in deploy.bundle() if item.path == "README.md")
    assert isinstance(card, bytes)
    matter = yaml.safe_load(card.decode().split("---\n")[1])
    assert matter["sdk"] == "gradio" and matter["sdk_version"] and matter["app_file"] == "app.py"
    assert matter["hf_oauth"] is True and "write-repos" in matter["hf_oauth_scopes"]


def test_a_space_installs_one_version_of_each_package():
    def needs(preset):
        (found,) = (item.source for item in deploy.bundle(preset) if item.path == "requirements.txt")
        assert isinstance(found, bytes)
        return {line for line in found.decode().splitlines() if line and not line.startswith("#")}

    def lock(path):
        return {line for line in (ROOT / path).read_text().splitlines() if line and line[0] != "#"}

    assert needs("explorer") == lock("spaces/requirements.lock") and "pymoo" not in str(needs("explorer"))
    (extra,) = needs("full") - lock("requirements.lock")
    assert needs("full") > lock("requirements.lock") and extra.startswith("spaces==")
    assert all("==" in line for preset in ("explorer", "full") for line in needs(preset))


@pytest.mark.parametrize("preset", ["explorer", "full"])
def test_a_space_prefers_the_builds_of_torch_that_a_setting_links(preset, monkeypatch):
    monkeypatch.setattr(deploy.get_settings(), "torch_links", "https://builds.example/cpu")
    (source,) = (item.source for item in deploy.bundle(preset) if item.path == "requirements.txt")
    assert isinstance(source, bytes)
    assert source.decode().splitlines()[0] == "--find-links https://builds.example/cpu"


def test_pushed_in_one_commit_and_pulled_back_the_same(local_hub, small, tmp_path):
    from huggingface_hub import snapshot_download

    done = push(small, hardware="cpu-upgrade", variables={"THEME": "dark"}, private=True)
    space = local_hub.repo(SPACE, "spaces")
    assert done.changed and done.commit == space.head and len(space.commits) == 2 and space.private
    assert space.extra["asked"]["sdk"] == "gradio" and space.extra["hardware"] == "cpu-upgrade"
    assert space.extra["variables"] == {"THEME": "dark", "BUDGET_ZOO_PRESET": "explorer"}
    back = snapshot_download(SPACE, repo_type="space", local_dir=tmp_path / "back", token=TOKEN, endpoint=local_hub.url)
    for item in deploy.bundle(root=small):
        expected = item.source if isinstance(item.source, bytes) else item.source.read_bytes()
        assert (Path(back) / item.path).read_bytes() == expected
    assert not (Path(back) / "spaces").exists() and not (Path(back) / "ui" / ".hidden").exists()


def test_a_second_time_changes_only_what_changed(local_hub, small):
    first = push(small)
    again = push(small)
    assert (again.changed, again.commit, again.settings) == (False, first.commit, [])
    (small / "ui" / "old.py").unlink()
    (small / "app.py").write_text("# new\n")
    third = push(small, preset="full")
    assert third.removed == ["ui/old.py"] and third.settings == ["variable BUDGET_ZOO_PRESET=full"]
    assert {path for path, _ in third.files} - set(third.unchanged) == {"app.py", "requirements.txt"}
    assert "ui/old.py" not in local_hub.files(SPACE, "spaces") and len(local_hub.uploads) == 1


def test_a_dry_run_does_nothing(local_hub, small):
    done = push(small, dry_run=True, hardware="cpu-basic")
    assert done.changed and done.commit == "" and not local_hub.repos
    assert done.settings == ["variable BUDGET_ZOO_PRESET=explorer", "hardware cpu-basic"]


def test_a_bucket_keeps_what_a_restart_would_lose(local_hub, small):
    done = push(small, preset="full", bucket="writer/zoo-data")
    assert done.settings == [
        "bucket writer/zoo-data at /data",
        "variable BUDGET_ZOO_HOME=/data",
        "variable BUDGET_ZOO_PRESET=full",
    ]
    extra, mounted = local_hub.repo(SPACE, "spaces").extra, {"type": "bucket", "source": "writer/zoo-data"}
    assert local_hub.buckets == {"writer/zoo-data": {"visibility": "private"}}
    assert extra["volumes"] == [{**mounted, "mountPath": "/data", "readOnly": False}]
    assert extra["variables"]["BUDGET_ZOO_HOME"] == "/data"
    assert push(small, preset="full", bucket="writer/zoo-data").settings == []
    model = {"type": "model", "source": "writer/x", "mountPath": "/models"}
    extra["volumes"].append(model)
    push(small, preset="full", bucket="zoo-org/other")
    assert extra["volumes"] == [model, {**mounted, "source": "zoo-org/other", "mountPath": "/data", "readOnly": False}]
    with pytest.raises(UserError, match="no name of a bucket. Write owner/name."):
        push(small, bucket="zoo-data")


def test_secrets_come_from_the_environment_and_are_shown_nowhere(local_hub, small, monkeypatch):
    with pytest.raises(UserError, match="holds no CANARY"):
        push(small, secrets=["CANARY"])
    assert not local_hub.repos
    monkeypatch.setenv("CANARY", "very-secret")
    said: list[str] = []
    done = push(small, secrets=["CANARY"], tell=said.append)
    assert local_hub.repo(SPACE, "spaces").extra["secrets"] == {"CANARY": "very-secret"}
    assert "very-secret" not in f"{done} {said}" and "secret CANARY" in done.settings
    assert b"very-secret" not in b"".join(local_hub.files(SPACE, "spaces").values())


def test_other_peoples_names(local_hub, small):
    with pytest.raises(UserError, match="may not write to other"):
        deploy.deploy("other/zoo", TOKEN, root=small)
    local_hub.put(SPACE, {"index.html": b"something else"}, kind="spaces")
    with pytest.raises(UserError, match="taken"):
        push(small)


def test_no_deployment_without_the_files_for_it(tmp_path, small):
    with pytest.raises(UserError, match="whole program"):
        deploy.bundle(root=tmp_path)
    (small / "spaces" / "README.md").write_text("# no front matter")
    with pytest.raises(UserError, match="front matter"):
        deploy.bundle(root=small)
    with pytest.raises(UserError, match="not empty"):
        deploy.assemble(small)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# Run at the start of the process: what the explorer's requirements do not bring cannot be imported.
LEAN = """
import importlib.util
import sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.partition(".")[0] in {names} else find(name, *rest)
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"{{name}} is not installed on this Space", name=name)
sys.meta_path.insert(0, Absent())
"""
ABSENT = ("accelerate", "aimet_torch", "datasets", "matplotlib", "neural_compressor", "nncf", "psycopg", "pymoo", "ray")


@pytest.mark.parametrize("installed", [False, True], ids=["without-spaces", "with-spaces"])
def test_the_bundle_starts_as_a_space_starts_it(tmp_path, installed):
    folder, site = deploy.assemble(tmp_path / "space"), tmp_path / "site"
    port = free_port()
    site.mkdir()
    (site / "sitecustomize.py").write_text(LEAN.format(names=ABSENT))
    if installed:  # what gradio calls of the package of that name on a Space
        (site / "spaces").mkdir()
        (site / "spaces" / "__init__.py").write_text("def gradio_auto_wrap(fn):\n    return fn\n")
        (site / "spaces" / "reloading.py").write_text("def start_reload_server(**_):\n    pass\n")
        (site / "spaces-0.51.3.dist-info").mkdir()
        (site / "spaces-0.51.3.dist-info" / "METADATA").write_text("Name: spaces\nVersion: 0.51.3\n")
    signing = {"OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": "s", "OAUTH_SCOPES": "openid profile"}
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HF_TOKEN") and "proxy" not in k.lower()}
    env |= {"SYSTEM": "spaces", "SPACE_ID": "writer/zoo", "SPACE_HOST": "writer-zoo.hf.space", "PYTHONPATH": str(site)}
    env |= {**signing, "OPENID_PROVIDER_URL": "https://huggingface.co", "BUDGET_ZOO_PORT": str(port)}
    env |= {"BUDGET_ZOO_HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=env, stdout=log, stderr=log)
    try:
        text, until = "", time.monotonic() + STARTUP_SECONDS
        while not text:
            told = (tmp_path / "log.txt").read_text()
            assert process.poll() is None and time.monotonic() < until, told
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                    text = answer.read().decode()
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        assert "Budget Zoo" in text
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    told = (tmp_path / "log.txt").read_text()
    # Without the package gradio's own watcher of a Space's files gives up, in a thread that nobody needs.
    given_up = told.count("`spaces` package is required to run hot-reloading")
    assert told.count("Traceback") == given_up == (0 if installed else 1), told
    assert not list(folder.rglob("*.pyc")) and not (folder / "spaces").exists()
