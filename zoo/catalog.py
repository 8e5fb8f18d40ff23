"""The catalog: what a checkpoint is, where it comes from, and what was measured of it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from zoo import pulling, safety, shelf, trial
from zoo.abstaining import folder_abstains, threshold_in
from zoo.checkpoints import activation_of, head_of, labels_of, read_config
from zoo.encoders import ENCODERS
from zoo.engines import GRAPH, INTEGERS, TENSORS, float_weights, running
from zoo.errors import UserError, told
from zoo.families import FAMILIES
from zoo.files import read_json
from zoo.foreign import refuse_settings
from zoo.lengths import Front
from zoo.metrics import scores_of
from zoo.names import check_hub_id, clean, folder_at
from zoo.onnx_files import facts_of, names_in, stock_graph
from zoo.pooling import Pooling
from zoo.settings import get_settings
from zoo.sizes import check_held
from zoo.task_types import TASK_TYPES, TaskType
from zoo.tasks import QUESTIONS
from zoo.tensors import Tensors, has_tensors

log = logging.getLogger(__name__)

MODELS = Path(__file__).parent / "models"
FRONT = "front.json"
KINDS = {
    **dict.fromkeys(("title", "task", "method", "base_model", "license", "full_precision", "weights_dtype"), str),
    **dict.fromkeys(("metrics", "provenance"), dict),
    "parameters": int,
}  # of the keys of entry.json


@dataclass(frozen=True)
class Entry:
    """A checkpoint and what was measured of it.

    `parameters` and `bytes` count the weights; `metrics` are points of 100 with what they were measured on;
    `front` is there for int8 length-adaptive entries; `engines` are the names that `zoo.engines.open_engine` takes;
    `labels` name a classifier's outputs in their order (one where it gives a score), `activation` says what turns these
    into what is said, see `zoo.checkpoints.activation_of`. `no_answer`: it was trained to say that there is none,
    which wins if its score is above the best span's by more than `null_threshold`, in logits.
    `family` is the `model_type` of its `config.json`; `pooling` says how its tokens become one vector, where they do.
    """

    name: str
    folder: Path
    method: str
    task: str
    base_model: str
    parameters: int
    bytes: int
    metrics: dict[str, Any]
    front: Front | None
    engines: list[str]
    license: str
    title: str
    card: str
    full_precision: str | None = None
    weights_dtype: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    revision: str | None = None
    labels: list[str] = field(default_factory=list)
    activation: str = ""
    no_answer: bool = False
    null_threshold: float = 0.0
    family: str = ""
    pooling: Pooling = Pooling()

    @property
    def type(self) -> TaskType:
        """What its task has in common with others."""
        return TASK_TYPES[self.task]

    @property
    def metric(self) -> str:
        """Key of the metric that the entry is chosen by, see `zoo.metrics`; empty where nothing was measured."""
        return next(iter(scores_of(self.metrics)), "")

    @property
    def score(self) -> float | None:
        """Its value in points of 100, None where nothing was measured."""
        return next(iter(scores_of(self.metrics).values()), None)

    @property
    def float_folder(self) -> Path:
        """The folder with the float weights that run on torch.

        Raises:
            UserError: there are none.
        """
        if sibling := full_precision(self):
            return sibling.folder
        raise UserError(f"{self.name} names no full-precision model, so it cannot run on torch. Choose another engine.")


def bundled() -> list[Entry]:
    """The entries that ship with the program, by name."""
    return [_read(path.parent, path.parent.name) for path in sorted(MODELS.glob("*/entry.json"))]


def find(name: str, revision: str | None = None, token: str | None = None, owner: str | None = None) -> Entry:
    """The entry of a bundled name, a registered local result, a folder, or a Hub id, in this order.

    Args:
        name: for example `minilm-l6-qa`, `runs/mine/model`, `owner/model` or `owner/model@revision`.
        revision: a Hub revision; the entry's `revision` says which commit it came to.
        token: for private models of the Hub.
        owner: whose local results are found beside those of nobody, see `zoo.shelf.folder_of`.

    Raises:
        UserError: not found, no network, no weights, only pickled ones, too large, or no model that this program runs.
    """
    name = clean(name)
    if _is_bundled(name):
        return _read(MODELS / name, name)
    if (result := _registered(name, owner)) is not None:
        return _read(safety.check_folder(result), name)
    # On a Space the folders are the host's, not the visitor's.
    if not get_settings().on_space:
        if folder := folder_at(name):
            return _read(_tried(folder), name)
        check_hub_id(name)
    folder, commit = _pulled(name, revision, token, _check_entry)
    return _read(folder, name, commit)


def asks_hub(name: str, owner: str | None = None) -> bool:
    """Whether `find` asks the Hub for this name: nothing here has it.

    Raises:
        UserError: it can be no name.
    """
    name = clean(name)
    if _is_bundled(name) or _registered(name, owner) is not None:
        return False
    return safety.is_hub_id(name) and (get_settings().on_space or folder_at(name) is None)


def find_kept(name: str) -> Entry:
    """The entry of a Hub id as it was pulled last, without asking the Hub.

    Raises:
        UserError: it was never pulled, or is no model that this program runs.
    """
    folder, commit = pulling.kept(clean(name))
    return _read(_tried(folder), name, commit)


def _pulled(
    name: str, revision: str | None = None, token: str | None = None, check: pulling.Check = pulling.check_type
) -> tuple[Path, str]:
    """The folder of a model of the Hub, looked over, and its commit."""
    safety.split_revision(name)  # a path is told as no id, whether or not the Hub can be reached
    folder, commit = pulling.pull(name, revision, token, check=check)
    return _tried(folder), commit


def _tried(folder: Path) -> Path:
    """A folder from elsewhere, resolved: its files were looked over, and a child process has read and run them before.

    Raises:
        UserError: what is wrong with it.
    """
    folder = safety.check_files(folder)
    trial.check(folder, safety.reach(folder))
    return safety.check_folder(folder)


def _check_entry(config: dict[str, Any], names: Collection[str]) -> None:
    """Refuses what has no head that this program runs; what is published by it says so in a file of its own."""
    pulling.check_type(config, names)
    if not {"entry.json", pulling.MODULES} & set(names):  # either says what the encoder is for
        _task(config, "the model")


def open_folder(folder: str | Path) -> Entry:
    """The entry in a folder of this machine, named like the folder; for what the program itself points to.

    Raises:
        UserError: see `find`.
    """
    folder = safety.check_folder(folder)
    return _read(folder, folder.name)


def look_at(folder: str | Path, name: str) -> Entry:
    """What is said of an entry in a folder of this machine, for showing only: its weights are not even checked.

    Raises:
        UserError: it is none.
    """
    return _read(Path(folder), name)


def stated(folder: Path) -> dict[str, Any]:
    """What `entry.json` states of a model of this machine; empty where there is none."""
    path = folder / "entry.json"
    facts = read_json(path) if path.is_file() else {}
    return facts if isinstance(facts, dict) else {}


def _is_bundled(name: str) -> bool:
    return name in (path.parent.name for path in MODELS.glob("*/entry.json"))


def _registered(name: str, owner: str | None = None) -> Path | None:
    try:
        return shelf.folder_of(name, owner)
    except UserError as error:
        log.warning("%s", error)
        return None


def full_precision(entry: Entry) -> Entry | None:
    """The entry to run in fp32 beside this one: itself where it has such weights, else its full-precision sibling."""
    if has_tensors(entry.folder):
        return entry
    if not (name := entry.full_precision):
        return None
    beside = entry.folder.parent / name
    if Path(name).name == name and has_tensors(beside):
        return _read(beside if beside.parent == MODELS else _tried(beside), name)
    if entry.revision is None or (MODELS / name).parent == MODELS:
        other = find(name)
    else:  # whoever published it names models of the Hub alone, none of this machine's
        check_hub_id(name)
        folder, commit = _pulled(name, check=_check_entry)
        other = _read(folder, name, commit)
    if not has_tensors(other.folder):
        raise UserError(
            f"{entry.name} names {name} as its full-precision model, which has no float weights. Correct it."
        )
    return other


@cache
def _examples() -> list[dict[str, Any]]:
    articles = read_json(MODELS / "examples.json")["data"]
    return [
        {
            "title": article["title"],
            "context": paragraph["context"],
            "question": qa["question"],
            "answers": qa["answers"],
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def examples() -> list[dict[str, Any]]:
    """The bundled questions: `{"title", "context", "question", "answers": [{"text", "answer_start"}]}` each."""
    return [dict(example) for example in _examples()]


def _read(folder: Path, name: str, revision: str | None = None) -> Entry:
    """An entry from its folder; what `entry.json` does not say comes from `config.json` and the weights."""
    with told(f"{name} cannot be read", "Restore its files, or take another model."):
        return _entry(folder, name, revision)


def _entry(folder: Path, name: str, revision: str | None) -> Entry:
    config = read_config(folder)
    path = folder / "entry.json"
    facts = read_json(path) if path.is_file() else {}
    if not isinstance(facts, dict):
        raise UserError(f"{path} should hold a JSON object. Restore the file.")
    for key, kind in KINDS.items():
        if facts.get(key) is not None and not isinstance(facts[key], kind):
            raise UserError(f"“{key}” in {path} should be of the kind {kind.__name__}. Correct the file.")
    family = config.get("model_type")
    if family not in FAMILIES and family not in ENCODERS:
        runs = ", ".join([*FAMILIES, *ENCODERS])
        raise UserError(f"{name} is of the type {family!r}; this program runs {runs} encoders. Take one.")
    refuse_settings(config)
    task = facts.get("task") or _task(config, name)
    if task not in TASK_TYPES:
        raise UserError(f"The task {task!r} of {name} is none of {', '.join(TASK_TYPES)}. Correct {path}.")

    graph = folder / GRAPH
    front = Front.load(folder / FRONT) if (folder / FRONT).is_file() else None
    integer_files = [path.name for path in ([graph] if front else []) + [folder / INTEGERS] if path.is_file()]
    sibling = facts.get("full_precision")
    tensors = Tensors.of(folder) if has_tensors(folder) else None
    if tensors:
        check_held(config, tensors.parameters, name)
    stock = None if tensors or graph.is_file() or integer_files else stock_graph(names_in(folder))
    runs_float = tensors or ((integer_files or stock) and sibling)
    engines = running(*([GRAPH] if stock else integer_files), *([float_weights(config)] if runs_float else []))
    row = ENCODERS.get(family)
    engines = [engine for engine in engines if row is None or engine not in row.not_on]
    if not engines:
        raise UserError(f"{name} has neither {TENSORS} nor {GRAPH} with its {FRONT}. Save it again as one of these.")
    card = folder / "README.md"
    if stock:
        parameters, rounded, size = facts_of(folder / stock)
        dtypes = "int8" if rounded else "f32"
    else:
        parameters, dtypes = (tensors.parameters, ", ".join(tensors.dtypes).lower()) if tensors else (0, "")
        size = (folder / integer_files[0]).stat().st_size if integer_files else tensors.bytes if tensors else 0
    return Entry(
        name=name,
        folder=folder,
        method=facts.get("method") or "none",
        task=task,
        base_model=facts.get("base_model") or config.get("_name_or_path") or "",
        parameters=facts.get("parameters") or parameters,
        bytes=size,
        metrics=facts.get("metrics") or {},
        front=front,
        engines=engines,
        license=facts.get("license") or "",
        title=facts.get("title") or name,
        card=card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "",
        full_precision=sibling,
        weights_dtype=facts.get("weights_dtype") or dtypes,
        provenance=facts.get("provenance") or {},
        revision=revision,
        labels=labels_of(config) if TASK_TYPES[task].has_labels else [],
        activation=activation_of(config) if TASK_TYPES[task].has_labels else "",
        no_answer=task == QUESTIONS.name and folder_abstains(folder, config, name),
        null_threshold=_threshold(config, name) if task == QUESTIONS.name else 0.0,
        family=family,
        pooling=Pooling.of(config) if TASK_TYPES[task].reads == "pooled" else Pooling(),
    )


def _threshold(config: dict[str, Any], name: str) -> float:
    try:
        return threshold_in(config)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def _task(config: dict[str, Any], name: str) -> str:
    try:
        return head_of(config).name
    except UserError as error:
        raise UserError(f"{name}: {error} Take a checkpoint that was trained for one of these.") from error


def folder_here(name: str) -> Path | None:
    """The folder of this machine that `checkpoint_of` takes a name for, unread; None for what is elsewhere."""
    with suppress(OSError, RuntimeError):  # `~name` of nobody here, or far too long
        for folder in (Path(name).expanduser(), MODELS / name):
            if (folder / "config.json").is_file():
                return folder
    return None if get_settings().on_space or Path(name).name != name else _registered(name)


def config_of(name: str) -> dict[str, Any]:
    """The `config.json` of what `checkpoint_of` takes, its weights left where they are; empty where it is not at hand.

    Of a model of the Hub that file alone is downloaded.
    """
    try:
        if folder := folder_here(name):
            return read_config(folder)
        return pulling.config_of(name) if safety.is_hub_id(name) else {}
    except (UserError, OSError, RuntimeError):  # whoever opens it tells
        return {}


def checkpoint_of(name: str) -> Path:
    """The folder of a checkpoint: a folder, a bundled entry, a local result or a Hub id (downloaded, safetensors).

    Raises:
        UserError: see `find`.
    """
    name = clean(name)
    if folder := folder_at(name):
        return _tried(folder)
    if any(entry.name == name for entry in bundled()) or (not get_settings().on_space and _registered(name)):
        return find(name).float_folder
    check_hub_id(name)
    return _pulled(name)[0]
