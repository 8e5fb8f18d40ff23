"""This program as a Hugging Face Space: the bundle put together, and pushed in one commit."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from huggingface_hub import Volume

from zoo import safety
from zoo.commits import Item, State, follow, look, push, unchanged
from zoo.errors import UserError
from zoo.hub import client, patiently, plainly
from zoo.publishing import check_right
from zoo.settings import get_settings

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
PACKAGES = ("compress", "ui", "zoo")
FILES = ("LICENSE", "app.py")
# Data for a Space; as a folder in the bundle it would be taken for the package `spaces` that gradio looks for there.
CARD, LOCK, EXPLORER_LOCK = "spaces/README.md", "requirements.lock", "spaces/requirements.lock"
PRESET, HOME = "BUDGET_ZOO_PRESET", "BUDGET_ZOO_HOME"
MOUNT = "/data"  # where a Space finds its bucket
Preset = Literal["explorer", "full"]


@dataclass(frozen=True)
class Deployed:
    """What was, or in a dry run would be, changed on the Space; `commit` is empty in a dry run."""

    repo_id: str
    url: str
    commit: str
    changed: bool
    files: list[tuple[str, int]]
    unchanged: list[str]
    removed: list[str]
    settings: list[str] = field(default_factory=list)


def bundle(preset: Preset = "explorer", root: Path = ROOT) -> list[Item]:
    """The files of the Space: program, models, card and requirements; a Space of the explorer installs less.

    Raises:
        UserError: this is an installation without the files that a Space needs, or the card is no card of one.
    """
    if not (root / CARD).is_file() or not (root / "app.py").is_file():
        raise UserError(f"{root} does not hold the whole program. Deploy from a copy of its repository.")
    text = (root / CARD).read_text(encoding="utf-8")
    _check_card(text)
    items = [Item("README.md", text.encode()), Item("requirements.txt", _requirements(preset, root).encode())]
    items += [Item(name, root / name) for name in FILES if (root / name).is_file()]
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(root).parts)
            if path.is_file() and not hidden and path.suffix != ".pyc":
                items.append(Item(path.relative_to(root).as_posix(), path))
    return items


def assemble(target: Path, preset: Preset = "explorer", root: Path = ROOT) -> Path:
    """Puts the bundle into an empty folder, to be looked at or run as a Space would.

    Raises:
        UserError: the folder holds something already.
    """
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty. Give a new folder.")
    for item in bundle(preset, root):
        path = target / item.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(item.source, bytes):
            path.write_bytes(item.source)
        else:
            shutil.copyfile(item.source, path)
    return target


@dataclass(frozen=True)
class Space:
    """What a Space is to be.

    Attributes:
        preset: explorer (look and ask) or full (recipes, jobs, publishing); a variable of the Space.
        private: of a new Space.
        hardware: as the Hub names it, such as cpu-upgrade.
        variables: of the Space, beside the preset.
        secrets: names; their values are read from this process's environment and are never shown.
        bucket: owner/name of a storage bucket, made where there is none, in which jobs and their results outlive
            restarts: the disk of a Space does not.
    """

    preset: Preset = "explorer"
    private: bool = False
    hardware: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Sequence[str] = ()
    bucket: str | None = None


def deploy(
    repo_id: str,
    token: str,
    space: Space | None = None,
    dry_run: bool = False,
    root: Path = ROOT,
    tell: Callable[[str], None] | None = None,
) -> Deployed:
    """Pushes the program to a Space in one commit; a second time only what has changed.

    Args:
        repo_id: owner/name of the Space, made if it does not exist.
        token: may write to the owner; kept in memory only.
        space: how it is set up; None for the explorer.
        dry_run: tell what would be done and do nothing.
        root: of the program.
        tell: is told each step.

    Raises:
        UserError: no right to write, a taken name, a secret that is not set, or a Hub that is busy or away.
    """
    space = space or Space()
    say = tell or log.info
    repo_id = safety.check_repo_id(repo_id)
    if space.bucket and safety.check_repo_id(space.bucket).count("/") != 1:
        raise UserError(f"“{space.bucket}” is no name of a bucket. Write owner/name.")
    missing = [name for name in space.secrets if not os.environ.get(name)]
    if missing:
        raise UserError(f"The environment holds no {', '.join(missing)}. Set it, then deploy again.")
    items = bundle(space.preset, root)
    api = client(token)
    with plainly(repo_id):
        check_right(api, repo_id)
        state = look(api, repo_id, "space")
        if state and "app.py" not in state.files and set(state.files) - {".gitattributes", "README.md"}:
            raise UserError(f"The name {repo_id} is taken by something else. Choose another name.")
        removed = _outdated(state, items)
        same = unchanged(items, state)
        settings = _settings(api, repo_id, space, state is not None)
        commit, changed = "", len(same) < len(items) or bool(removed)
        if not dry_run:
            if state is None:
                say(f"making the {'private' if space.private else 'public'} Space {repo_id}")
                patiently(
                    lambda: api.create_repo(
                        repo_id, repo_type="space", space_sdk="gradio", private=space.private, exist_ok=True
                    )
                )
                state = look(api, repo_id, "space")
            if state is None:
                raise UserError(f"The Hub made {repo_id} but does not show it. Try again in a while.")
            # Before the files, so that the first start knows them.
            for name, apply in settings.items():
                say(name)
                patiently(apply)
            message = f"Deploy Budget Zoo ({space.preset})"
            commit, changed = follow(push(api, repo_id, items, message, state, "space", removed), say)
            _check_arrived(look(api, repo_id, "space"), items, repo_id)
    sizes = [(item.path, item.size) for item in items]
    url = f"{api.endpoint}/spaces/{repo_id}"
    return Deployed(repo_id, url, commit, changed, sizes, same, removed, list(settings))


def _check_card(text: str) -> None:
    parts = text.split("---\n")
    matter = yaml.safe_load(parts[1]) if len(parts) > 2 else None
    if not isinstance(matter, dict) or matter.get("sdk") != "gradio" or not matter.get("sdk_version"):
        raise UserError(f"{CARD} should begin with front matter that says sdk: gradio and a sdk_version. Restore it.")


def _requirements(preset: str, root: Path) -> str:
    """What the Space installs, a version each: the explorer's lock, or the program's with what only a Space needs.

    With `BUDGET_ZOO_TORCH_LINKS` pip prefers the builds of torch that are linked there.
    """
    lock = (root / EXPLORER_LOCK).read_text(encoding="utf-8")
    if preset == "full":
        whole = (root / LOCK).read_text(encoding="utf-8")
        here = {_pinned(line) for line in whole.splitlines()}
        lock = whole + "".join(f"{line}\n" for line in lock.splitlines() if _pinned(line) not in here)
    links = get_settings().torch_links
    return f"--find-links {links}\n{lock}" if links else lock


def _pinned(line: str) -> str:
    """`name==version` of a line of a lock, without the marker that says where it is wanted."""
    return line.partition(";")[0].strip()


def _outdated(state: State | None, items: Sequence[Item]) -> list[str]:
    """Files of earlier deployments that the program no longer has."""
    here = {item.path for item in items}
    packages = tuple(f"{name}/" for name in PACKAGES)
    return sorted(path for path in (state.files if state else ()) if path.startswith(packages) and path not in here)


def _settings(api: HfApi, repo_id: str, space: Space, exists: bool) -> dict[str, Callable[[], Any]]:
    """What is to be set, by a line for people (never a secret's value), with the call that sets it."""
    variables = patiently(lambda: api.get_space_variables(repo_id)) if exists else {}
    steps: dict[str, Callable[[], Any]] = {}
    runs = patiently(lambda: api.get_space_runtime(repo_id)) if exists and (space.hardware or space.bucket) else None
    home = {HOME: MOUNT} if space.bucket else {}
    if space.bucket:
        others = [each for each in (runs and runs.volumes) or () if each.mount_path != MOUNT]
        wanted = Volume(type="bucket", source=space.bucket, mount_path=MOUNT, read_only=False)
        if runs is None or wanted.to_dict() not in [each.to_dict() for each in runs.volumes or ()]:
            steps[f"bucket {space.bucket} at {MOUNT}"] = lambda: _mount(api, repo_id, [*others, wanted])
    for key, value in {**home, **space.variables, PRESET: space.preset}.items():
        if key not in variables or variables[key].value != value:
            steps[f"variable {key}={value}"] = lambda k=key, v=value: api.add_space_variable(repo_id, k, v)
    for name in space.secrets:
        steps[f"secret {name}"] = lambda k=name: api.add_space_secret(repo_id, k, os.environ[k])
    if space.hardware and (runs is None or space.hardware not in (runs.hardware, runs.requested_hardware)):
        hardware: Any = space.hardware
        steps[f"hardware {space.hardware}"] = lambda: api.request_space_hardware(repo_id, hardware)
    return steps


def _mount(api: HfApi, repo_id: str, volumes: Sequence[Volume]) -> None:
    """Mounts these volumes on the Space, and makes the bucket among them where there is none."""
    api.create_bucket(volumes[-1].source, private=True, exist_ok=True)
    api.set_space_volumes(repo_id, list(volumes))


def _check_arrived(state: State | None, items: Sequence[Item], repo_id: str) -> None:
    here = set(unchanged(items, state))
    if wrong := [item.path for item in items if item.path not in here]:
        raise UserError(f"{repo_id} does not hold what was sent: {', '.join(wrong[:5])}. Deploy again.")
