"""What may be loaded: names, folders and files that come from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from zoo.encoders import encoder_of
from zoo.errors import PickledWeights, UserError
from zoo.families import titles
from zoo.files import read_json
from zoo.onnx_files import OURS as GRAPH
from zoo.onnx_files import data_files, names_in, stock_graph
from zoo.pieces import FILES as PIECES
from zoo.pooling import module_files
from zoo.tensors import INDEX, INTEGERS, SINGLE

ALLOWED = ("*.safetensors", "*.onnx", "*.json", "*.yaml", "vocab.txt", "merges.txt", *PIECES, "README.md")
ADAPTER = "adapter_config.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")
MAX_BYTES = 2 * 1024**3
MAX_FILES = 200
MIB = 1024**2
HUB_NAME = re.compile(r"\w(?:[\w.-]{0,94}\w)?", re.ASCII)  # of an owner or a repository of the Hub
UNUSED = re.compile(r"--|\.\.|\.git$")  # in no such name
MOST_OF = {
    "tokenizer.json": 128 * MIB,
    "vocab.*": 128 * MIB,
    "trained_on.json": 128 * MIB,
    "front.json": MIB,
    "*.json": 8 * MIB,
    "*.yaml": MIB,
    "README.md": 4 * MIB,
}  # bytes of a file by its name; of the tokenizer's, `zoo.tokenizer_files` says more


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a file's name fits one of the patterns."""
    return any(fnmatch(name.lower(), pattern.lower()) for pattern in patterns)


def check_repo_id(repo_id: str) -> str:
    """The Hub id without blanks around it.

    Raises:
        UserError: it is not of the form `name` or `owner/name`.
    """
    repo_id = repo_id.strip()
    parts = repo_id.split("/")
    if len(parts) > 2 or not all(map(HUB_NAME.fullmatch, parts)) or UNUSED.search(repo_id):
        raise UserError(
            f"“{repo_id[:100]}” is no model id. Write owner/name, pick a bundled model, or give a folder that exists."
        )
    return repo_id


def check_weights(names: Iterable[str], where: str) -> None:
    """Refuse a set of files without weights that can be loaded safely.

    Raises:
        UserError: there are no weights, or only pickles, which can run code when they are opened, or only an adapter.
    """
    names = list(names)
    if {SINGLE, INDEX, INTEGERS, GRAPH} & set(names) or stock_graph(names):
        return
    check_adapter(names, where)
    pickled = next((name for name in names if matches(name, PICKLES)), None)
    if pickled:
        raise PickledWeights(
            f"{where} has its weights only as a pickle ({pickled}), which can run code when it is opened, "
            f"so it is not. Convert them without running any: `python -m zoo convert {where}`.",
            where,
        )
    raise UserError(
        f"{where} has no weights ({SINGLE}, model.onnx or onnx/model.onnx). Give the id or folder of a "
        "complete checkpoint."
    )


def check_adapter(names: Iterable[str], where: str, base: str = "its base") -> None:
    """Refuse the files of an adapter, which are no model by themselves.

    Args:
        names: of the files.
        where: whose they are.
        base: the model that the adapter changes.
    """
    names = set(names)
    if ADAPTER in names and SINGLE not in names and INDEX not in names:
        raise UserError(merge_first(where, base))


def check_code(settings: dict[str, Any], where: str, name: str) -> None:
    """Refuse a configuration that wants code of the model's own to be run.

    A family that transformers has learned since needs none of it, and gets none: its weights have to fit all the same.

    Args:
        settings: what the file holds.
        where: whose it is.
        name: of the file.
    """
    if "auto_map" in settings and encoder_of(settings) is None:
        raise UserError(
            f"{where} brings code of its own (auto_map in {name}), which is never run here. "
            f"Take a checkpoint of a standard {titles()} architecture."
        )


def split_revision(name: str) -> tuple[str, str | None]:
    """A Hub id, and the revision behind an “@”: a branch, a tag, a commit or `refs/pr/1`.

    Raises:
        UserError: it is not of the form `owner/name` or `owner/name@revision`.
    """
    repo_id, at, revision = name.strip().partition("@")
    repo_id, revision = check_repo_id(repo_id), revision.strip()
    if at and (".." in revision or not re.fullmatch(r"\w[\w./+-]{0,199}", revision)):
        raise UserError(f"“{revision[:80]}” is no revision of {repo_id}. Write a branch, a tag, a commit or refs/pr/1.")
    return repo_id, revision or None


def is_hub_id(name: str) -> bool:
    """Whether a name can be one of the Hub, with or without a revision."""
    try:
        return split_revision(name)[0].count("/") <= 1
    except UserError:
        return False


def merge_first(where: str, base: str = "its base") -> str:
    """What to say of an adapter."""
    return (
        f"{where} is an adapter (LoRA or another of PEFT), not a model: it changes the weights of {base}. Merge both "
        f"once (`PeftModel.from_pretrained(AutoModel….from_pretrained({base!r}), ADAPTER).merge_and_unload()"
        ".save_pretrained(FOLDER)`) and give that folder."
    )


def check_folder(folder: str | Path, root: Path | None = None) -> Path:
    """Look a checkpoint's folder over before anything in it is loaded: files, configurations and graphs.

    Args:
        folder, root: see `check_files`.

    Returns:
        The folder, resolved.

    Raises:
        UserError: as there, or code of its own (`auto_map`), or an ONNX graph with data outside of the folder.
    """
    folder = check_files(folder, root)
    root = reach(folder, root)
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file():
            settings = read_json(path)
            if not isinstance(settings, dict):
                raise UserError(f"{path} should hold a JSON object. Restore the file.")
            check_code(settings, str(folder), name)
    loadable = _loadable(folder)
    graphs = [path for path in loadable if path.suffix == ".onnx"]
    check_size(
        [*(path.stat().st_size for path in loadable), *(_check_graph(path, root) for path in graphs)], str(folder)
    )
    return folder


def _loadable(folder: Path) -> list[Path]:
    """Files of a folder that some reader may open."""
    everything = names_in(folder)
    loadable = [folder / name for name in everything if "/" not in name and matches(name, ALLOWED)]
    stock = stock_graph(everything)
    if stock and "/" in stock and not {GRAPH, SINGLE, INDEX} & set(everything):
        loadable.append(folder / stock)
    return loadable


def reach(folder: Path, root: Path | None = None) -> Path:
    """Where the links of a folder may point to: `root`, if given, else nowhere outside of the folder.

    The files of a snapshot in the Hub's cache are links into the blobs of the same repository, which are none outside.
    """
    if root is None and folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        root = folder.parent.parent
    return (root or folder).resolve()


def check_files(folder: str | Path, root: Path | None = None) -> Path:
    """Look the files of a checkpoint's folder over, by their names, sizes and places alone.

    Args:
        folder: where the checkpoint's files are.
        root: links may point to anywhere in here; by default see `reach`.

    Returns:
        The folder, resolved.

    Raises:
        UserError: no folder, no safe weights, too large, or a link that leads outside.
    """
    folder = Path(folder).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Check the path.")
    root = reach(folder, root)
    loadable, names = _loadable(folder), set(names_in(folder))
    for path in (*loadable, *(folder / name for name in module_files(folder))):
        if not path.resolve().is_relative_to(root):
            raise UserError(
                f"{path.name} in {folder} is a link to a file outside of it. Replace it by the file itself."
            )
        if not path.is_file():
            raise UserError(
                f"{path.name} in {folder} is a broken link or no plain file. Replace it by the file itself."
            )
        most = next((size for pattern, size in MOST_OF.items() if matches(path.name, (pattern,))), MAX_BYTES)
        if path.stat().st_size > most:
            raise UserError(
                f"{path.name} in {folder} has {path.stat().st_size:,} bytes, over the limit of {most:,} for such a "
                "file. Restore it."
            )
    adapter = read_json(folder / ADAPTER) if ADAPTER in names else {}
    base = adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None
    check_adapter(names, str(folder), str(base or "its base"))
    check_weights(names, str(folder))
    check_size([path.stat().st_size for path in loadable], str(folder))
    return folder


def check_size(sizes: Iterable[int | None], where: str) -> None:
    """Refuse more files or bytes than a model for this program can need.

    Raises:
        UserError: over `MAX_FILES` files or `MAX_BYTES` bytes.
    """
    sizes = [size or 0 for size in sizes]
    if len(sizes) > MAX_FILES:
        raise UserError(
            f"{where} has {len(sizes)} files, over the limit of {MAX_FILES}. Give a folder with one checkpoint."
        )
    if sum(sizes) > MAX_BYTES:
        raise UserError(
            f"{where} has {sum(sizes) / 1024**3:.1f} GB of files, over the limit of {MAX_BYTES / 1024**3:.0f} GB. "
            "Take a smaller model."
        )


def _check_graph(path: Path, root: Path) -> int:
    """Refuses a graph with data outside of its folder or of `root`; returns the bytes of its data."""
    size = 0
    for name in data_files(path):
        data = path.parent / name
        if not data.resolve().is_relative_to(root):
            raise UserError(f"{path.name} wants data from outside of its folder ({name}), so it is refused.")
        if not data.is_file():
            raise UserError(f"{path} lacks {name}, which holds its data. Put the file beside it.")
        size += data.stat().st_size
    return size
