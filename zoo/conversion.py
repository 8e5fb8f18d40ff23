"""Pickled weights to safetensors, without running anything that the pickle holds."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from zoo import confined, pulling, safety
from zoo.checkpoints import check_checkpoint, read_config
from zoo.errors import UserError
from zoo.files import atomic, sha256, write_json
from zoo.tensors import SINGLE, Tensors, has_tensors

log = logging.getLogger(__name__)

PATIENCE = 120  # seconds, beside one for every 2 MB


def convert(
    name: str, out: Path | None = None, token: str | None = None, tell: Callable[[str], None] = log.info
) -> Path:
    """Writes a checkpoint's pickled weights as safetensors.

    A process of its own reads them, tensors alone (`torch.load(weights_only=True)`), with bounded memory and time.

    Args:
        name: a folder, or a Hub id, `owner/name` or `owner/name@revision`.
        out: a new folder for the checkpoint. By default a folder's weights are written beside the pickle, and a Hub
            id's into this program's home, where its name then finds them.
        token: for private models of the Hub.
        tell: is told each step.

    Returns:
        The folder of the checkpoint.

    Raises:
        UserError: there is no pickle, or more than weights in it; the type is not known here, or it is too large.
    """
    source = Path(name).expanduser()
    if source.is_dir():
        return _convert_folder(source, out, tell)
    repo_id, _ = pulling.revision_of(name, None)
    folder, pickles, commit = pulling.fetch_pickles(name, token, tell)
    target = out or pulling.converted_folder(repo_id, commit)
    if out is None and has_tensors(target):
        tell(f"{name} was converted before")
        return target
    return _write(folder, pickles, target, {"model": repo_id, "commit": commit}, tell)


def _convert_folder(source: Path, out: Path | None, tell: Callable[[str], None]) -> Path:
    if has_tensors(source):
        raise UserError(f"{source} has its weights in safetensors: there is nothing to convert. Open it as it is.")
    names = [path.name for path in source.iterdir() if path.is_file()]
    safety.check_adapter(names, str(source))
    check_checkpoint(read_config(source))
    pickles = [source / name for name in pulling.pickles_among(names, str(source))]
    safety.check_size((path.stat().st_size for path in pickles), str(source))
    if out is not None:
        return _write(source, pickles, out, {"model": source.name}, tell)
    _unpickle(pickles, source / SINGLE, tell)
    return source


def _write(
    source: Path, pickles: Sequence[Path], target: Path, origin: dict[str, str], tell: Callable[[str], None]
) -> Path:
    """A new folder with the weights, and what is loaded besides them; it stands whole or not at all."""
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty. Name a new folder.")
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        draft.mkdir(parents=True)
        _unpickle(pickles, draft / SINGLE, tell)
        for path in source.iterdir():
            if path.is_file() and safety.matches(path.name, pulling.BESIDE) and not path.name.endswith(".index.json"):
                shutil.copyfile(path, draft / path.name)
        hashes = {path.name: sha256(path) for path in pickles}
        write_json(draft / "conversion.json", {**origin, "pickles": hashes})
        if target.exists():
            target.rmdir()
        os.replace(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _unpickle(pickles: Sequence[Path], target: Path, tell: Callable[[str], None]) -> None:
    """Runs the child, and looks over what it wrote afterwards."""
    size = sum(path.stat().st_size for path in pickles)
    names = ", ".join(path.name for path in pickles)
    tell(f"reading {names} ({size / 1e6:.1f} MB): tensors alone, in a process of its own")
    with atomic(target) as draft:
        paths = [str(path.resolve()) for path in (draft, *pickles)]
        try:
            child = confined.run("zoo.unpickle", paths, PATIENCE + size / 2e6)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{names} was not converted: it took too long. Take another checkpoint.") from error
        if child.returncode:
            log.info("the child that read %s ended with %d: %s", names, child.returncode, child.stderr[-2000:])
            said = child.stderr.strip().splitlines()[-1:] or ["it used more memory or time than its size explains"]
            reason = said[0][:300]
            raise UserError(f"{names} was not converted: {reason}. Take a checkpoint whose weights are in safetensors.")
    stored = Tensors.of(target.parent)
    tell(f"{len(stored.stored)} weights, {stored.bytes / 1e6:.1f} MB: {target}")
