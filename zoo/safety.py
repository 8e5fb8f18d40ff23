"""What may be loaded: names, folders and files that come from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from zoo.errors import PickledWeights, UserError
from zoo.families import titles
from zoo.files import read_json
from zoo.tensors import INDEX, SINGLE

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

ALLOWED = ("*.safetensors", "*.onnx", "*.json", "*.yaml", "vocab.txt", "merges.txt", "README.md")
GRAPHS = ("*.onnx",)
ADAPTER = "adapter_config.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")
MAX_BYTES = 2 * 1024**3
MAX_FILES = 200


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a file's name fits one of the patterns."""
    return any(fnmatch(name.lower(), pattern.lower()) for pattern in patterns)


def check_repo_id(repo_id: str) -> str:
    """The Hub id without blanks around it.

    Raises:
        UserError: it is not of the form `name` or `owner/name`.
    """
    repo_id = repo_id.strip()
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(
            f"“{repo_id[:100]}” is no model id. Write owner/name, pick a bundled model, or give a folder that exists."
        ) from error
    return repo_id


def check_weights(names: Iterable[str], where: str) -> None:
    """Refuse a set of files without weights that can be loaded safely.

    Raises:
        UserError: there are no weights, or only pickles, which can run code when they are opened, or only an adapter.
    """
    names = list(names)
    if SINGLE in names or INDEX in names or any(matches(name, GRAPHS) for name in names):
        return
    check_adapter(names, where)
    pickled = next((name for name in names if matches(name, PICKLES)), None)
    if pickled:
        raise PickledWeights(
            f"{where} has its weights only as a pickle ({pickled}), which can run code when it is opened, "
            f"so it is not. Convert them without running any: `python -m zoo convert {where}`.",
            where,
        )
    raise UserError(f"{where} has no weights ({SINGLE} or *.onnx). Give the id or folder of a complete checkpoint.")


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

    Args:
        settings: what the file holds.
        where: whose it is.
        name: of the file.
    """
    if "auto_map" in settings:
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
    repo_id = check_repo_id(repo_id)
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
    """Look a checkpoint's folder over before anything in it is loaded.

    Args:
        folder: where the checkpoint's files are.
        root: links may point to anywhere in here; by default to nowhere outside of `folder`.

    Returns:
        The folder, resolved.

    Raises:
        UserError: no folder, no safe weights, too large, a link that leads outside, code of its own (`auto_map`), or an
            ONNX graph with data outside of the folder.
    """
    folder = Path(folder).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Check the path.")
    root = (root or folder).resolve()
    files = [path for path in folder.iterdir() if not path.is_dir()]
    loadable = [path for path in files if matches(path.name, ALLOWED)]
    for path in loadable:
        if not path.resolve().is_relative_to(root):
            raise UserError(
                f"{path.name} in {folder} is a link to a file outside of it. Replace it by the file itself."
            )
        if not path.is_file():
            raise UserError(
                f"{path.name} in {folder} is a broken link or no plain file. Replace it by the file itself."
            )
    names = {path.name for path in files}
    adapter = read_json(folder / ADAPTER) if ADAPTER in names else {}
    base = adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None
    check_adapter(names, str(folder), str(base or "its base"))
    check_weights(names, str(folder))
    check_size((path.stat().st_size for path in loadable), str(folder))
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file():
            settings = read_json(path)
            if not isinstance(settings, dict):
                raise UserError(f"{path} should hold a JSON object. Restore the file.")
            check_code(settings, str(folder), name)
    for path in loadable:
        if path.suffix == ".onnx":
            _check_onnx(path, folder)
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


def _check_onnx(path: Path, folder: Path) -> None:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise UserError(f"{path} is no ONNX file, or it is cut short. Download or export it again.") from error
    for tensor in _every_tensor(model):
        for entry in tensor.external_data:
            if entry.key == "location" and not (folder / entry.value).resolve().is_relative_to(folder):
                raise UserError(f"{path.name} wants data from outside of its folder ({entry.value}), so it is refused.")


def _every_tensor(model: ModelProto) -> Iterator[TensorProto]:
    yield from _tensors(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
    for training in model.training_info:
        yield from (*_tensors(training.initialization), *_tensors(training.algorithm))


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
