"""The locks hold what is asked for beside them and all that this needs in turn, one version each."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ABSENT = {"torchvision"}  # named by aimet-torch, which does without (compress/aimet/backend.py)


def lines(name: str) -> list[Requirement]:
    texts = ((ROOT / name).read_text(encoding="utf-8")).splitlines()
    return [Requirement(text.partition("#")[0]) for text in texts if text.strip() and text[0] not in "#-"]


def pins(name: str, python: str) -> dict[str, str]:
    """The version that a lock has of each package, on Linux with a version of Python."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    environment = {key: str(value) for key, value in environment.items()}
    chosen: dict[str, str] = {}
    for line in lines(name):
        if line.marker is None or line.marker.evaluate(environment):
            (pin,) = line.specifier
            assert pin.operator == "==" and canonicalize_name(line.name) not in chosen, line
            chosen[canonicalize_name(line.name)] = pin.version
    return chosen


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("kind", ["requirements", "requirements-dev", "spaces/requirements"])
def test_a_lock_fits_what_is_asked_for(kind, python):
    lock = pins(f"{kind}.lock", python)
    for line in lines(f"{kind}.txt"):
        assert line.specifier.contains(lock[canonicalize_name(line.name)]), f"{line}: run `make lock`"


@pytest.mark.parametrize("python", PYTHONS)
def test_developers_run_the_versions_of_users(python):
    users, developers = pins("requirements.lock", python), pins("requirements-dev.lock", python)
    assert users.items() <= developers.items()


@pytest.mark.parametrize("python", PYTHONS)
def test_a_space_runs_the_versions_of_users(python):
    users, space = pins("requirements.lock", python), pins("spaces/requirements.lock", python)
    assert set(space) - set(users) == {"spaces"} and space.items() - users.items() == {("spaces", space["spaces"])}
    matter = yaml.safe_load((ROOT / "spaces" / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert space["gradio"] == matter["sdk_version"], "installed before the lock, by the Space itself"


@pytest.mark.parametrize("lock", ["requirements-dev.lock", "spaces/requirements.lock"])
def test_a_lock_brings_no_cuda_beside_a_build_for_the_cpu(lock):
    names = {canonicalize_name(line.name) for line in lines(lock)}
    assert not [name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))]
    assert not names & ABSENT


@pytest.mark.parametrize("kind", ["requirements-dev", "spaces/requirements"])
def test_the_lock_is_complete(kind):
    """Whatever an installed package needs in turn stands in the lock too, since pip adds nothing to it."""
    lock = pins(f"{kind}.lock", ".".join(map(str, sys.version_info[:2])))
    missing = set[str]()
    for name in set(lock) - {"spaces"}:  # installed on a Space alone
        for text in metadata.requires(name) or ():
            need = Requirement(text)
            needed = canonicalize_name(need.name)
            if needed in lock or (need.marker and not need.marker.evaluate({"extra": ""})):
                continue
            missing.add(needed)
    # A build of torch for CUDA pins its own libraries, and is installed with them.
    assert {name for name in missing if not name.startswith(("nvidia-", "cuda-", "triton"))} <= ABSENT


def test_the_program_runs_on_the_versions_of_the_lock():
    lock = pins("requirements.lock", ".".join(map(str, sys.version_info[:2])))
    others = {name: metadata.version(name) for name in lock if metadata.version(name).partition("+")[0] != lock[name]}
    assert not others, "the environment is another than the lock: remove .venv and run make again"


@pytest.mark.parametrize("links", ["", "https://builds.test/cpu"])
@pytest.mark.parametrize("uv", ["", "uv"])
def test_make_installs_the_lock_with_uv_where_it_is_and_one_variable_chooses_the_build_of_torch(uv, links):
    words = ["make", "-n", "-B", "run", f"UV={uv}", f"BUDGET_ZOO_TORCH_LINKS={links}"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    installs = [line for line in told if " install " in line]
    (torch,) = (line for line in installs if pins("requirements.lock", "3.11")["torch"] in line)
    (rest,) = (line for line in installs if line.endswith("--no-deps --requirement requirements.lock"))
    assert installs == [torch, rest] and all(line.startswith("uv pip") is bool(uv) for line in installs)
    assert all(
        (f"--find-links {links} " in line) is bool(links) and ("--find" in line) is bool(links) for line in installs
    )


def test_models_of_transformers_are_imported_without_a_mend():
    """As the first line of every card's snippet for torch does."""
    code = (
        "from transformers import AutoModelForQuestionAnswering as auto, BertConfig, BertForQuestionAnswering\n"
        "print(type(auto.from_config(BertConfig(num_hidden_layers=1, vocab_size=9))) is BertForQuestionAnswering)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
