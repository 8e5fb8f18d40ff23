"""The first opening of a model from elsewhere: in a child process within limits, whose verdict is remembered.

What was found of the same files, by their sizes and times or by their hashes, holds until they or the readers change.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from zoo import confined, onnx_files
from zoo.errors import UserError
from zoo.files import read_json, sha256, write_json
from zoo.onnx_files import names_in
from zoo.pooling import module_files
from zoo.settings import get_settings

log = logging.getLogger(__name__)

MODULE = "zoo.on_trial"
REFUSED = 3  # exit status of the child; why stands on stderr
READERS, PACKAGES = 2, ("onnxruntime", "safetensors", "tokenizers", "torch", "transformers")  # a verdict is theirs
UNREAD = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".ot", ".png", ".jpg", ".gif", ".md")
SECONDS = 4  # of processor time for a child, beside one for every 5 MB
PATIENCE = 90  # seconds, beside one for every 4 MB
FOLDER = "<folder>"  # stands for it in a verdict, since the same files may lie elsewhere
_children = BoundedSemaphore(2)  # at once

Stamp = list[list[str | int]]


def check(folder: Path, root: Path | None = None) -> None:
    """Refuses a model's folder that a child process could not read and run within limits.

    Args:
        folder: where the files are, resolved; their names and sizes were looked over.
        root: links may point to anywhere in here, see `zoo.safety.check_folder`.

    Raises:
        UserError: what is wrong with the model.
    """
    if not get_settings().trial:
        return
    names = sorted(n for n in (*names_in(folder), *module_files(folder)) if not n.lower().endswith(UNREAD))
    stamp: Stamp = [[name, *_identity(folder / name)] for name in names if (folder / name).is_file()]
    here = get_settings().home / "trials"
    place = here / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:32]}.json"
    known = _remembered(place, {"stamp": stamp})
    if known is None:
        digest = _digest(folder, names)
        content = here / f"{digest}.json"
        known = _remembered(content, {})
        if known is None:
            size = sum(int(size) for _, size, *_ in stamp)
            known, is_lasting, _ = _attempt(folder, [str(folder), str(root or folder)], size)
            if is_lasting:
                _remember(content, {"fault": known})
            else:
                raise UserError(known.replace(FOLDER, str(folder)))
        _remember(place, {"fault": known, "stamp": stamp})
    if known:
        raise UserError(known.replace(FOLDER, str(folder)))


def data_files(path: Path) -> list[str]:
    """What `zoo.onnx_files.data_files` tells of a graph that nobody has looked into, by a child process.

    Raises:
        UserError: it is no graph, has data elsewhere, or takes more than its size explains.
    """
    if not get_settings().trial:
        return onnx_files.data_files(path)
    fault, _, said = _attempt(path.parent, ["--data", str(path)], path.stat().st_size)
    if fault:
        raise UserError(fault.replace(FOLDER, str(path.parent)))
    return [str(name) for name in json.loads(said.strip().splitlines()[-1])]  # packages may speak first


def _identity(path: Path) -> tuple[int, int, int]:
    """What changes where a file does: its size, its time, and which file it is."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def _digest(folder: Path, names: Sequence[str]) -> str:
    """The hash of all files, by their names."""
    whole = hashlib.sha256()
    for name in names:
        whole.update(f"{name}\0{sha256(folder / name)}\n".encode())
    return whole.hexdigest()


@cache
def _readers() -> str:
    """The readers by whom a verdict is."""
    versions = [str(READERS)]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return ", ".join(versions)


def _remembered(path: Path, facts: dict[str, Any]) -> str | None:
    """What is wrong by an earlier verdict, empty for nothing; None where there is no verdict for these facts."""
    try:
        stored = read_json(path) if path.is_file() else {}
    except UserError as error:
        log.info("%s", error)
        return None
    wanted = {**facts, "readers": _readers()}
    is_same = isinstance(stored, dict) and all(stored.get(key) == value for key, value in wanted.items())
    return stored["fault"] if is_same and isinstance(stored.get("fault"), str) else None


def _remember(path: Path, verdict: dict[str, Any]) -> None:
    try:
        write_json(path, {**verdict, "readers": _readers()})
    except OSError as error:  # a full disk, or a home that is read only: it is tried again
        log.warning("The verdict on a model was not remembered: %s", error)


def _attempt(folder: Path, arguments: Sequence[str], size: int) -> tuple[str, bool, str]:
    """What a child says is wrong, empty for nothing, whether that will be so the next time, too, and what it found."""
    with _children:
        try:
            child = confined.run(MODULE, [*arguments, str(SECONDS)], PATIENCE + size / 4e6)
        except subprocess.TimeoutExpired:
            late = f"{FOLDER} was not opened: reading it and running it once took too long. Take another model."
            return late, False, ""
        except OSError as error:
            return f"{FOLDER} was not opened: no process could be started for it ({error}). Try again.", False, ""
    said = child.stderr.strip().splitlines()[-1:]
    if child.returncode == REFUSED and said:
        return said[0].replace(str(folder), FOLDER)[:2000], True, ""
    if child.returncode:
        log.info("the child that opened %s ended with %d: %s", folder, child.returncode, child.stderr[-2000:])
        return (
            f"{FOLDER} was not opened: reading it, or running it once, took more memory or time than its size "
            "explains, or ended the process that did. Take another model, or restore its files.",
            True,
            "",
        )
    return "", True, child.stdout
