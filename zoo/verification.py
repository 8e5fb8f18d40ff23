"""Is what lies on the Hub what was meant? Every file pulled back and hashed, the model run beside the one here."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from huggingface_hub import RepoFile, snapshot_download

from zoo import catalog, safety
from zoo.card_files import PICTURE
from zoo.checkpoints import most_tokens, normalized, read_config
from zoo.commits import Item
from zoo.engines import INTEGERS, engine_class, open_graph
from zoo.errors import UserError
from zoo.features import load_tokenizer, make_windows
from zoo.files import sha256
from zoo.hub import client, patiently, plainly
from zoo.lazily import Lazy
from zoo.lengths import Front, Shape
from zoo.onnx_files import names_in, stock_graph
from zoo.settings import get_settings
from zoo.tensors import has_tensors

if TYPE_CHECKING:
    import onnxruntime
    import tokenizers
    import torch
    from huggingface_hub import HfApi

    from zoo import pretrained
else:
    onnxruntime, tokenizers, torch = Lazy("onnxruntime"), Lazy("tokenizers"), Lazy("torch")
    pretrained = Lazy("zoo.pretrained")

log = logging.getLogger(__name__)

TOKENS = 192
TOLERANCE = 1e-4  # of logits; the same bytes on the same engine differ by the order of additions at most


@dataclass(frozen=True)
class Verification:
    """What was compared, and what was not as it should be."""

    ok: bool
    checks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def compare(
    repo_id: str, items: Sequence[Item] | None, folder: Path | None, revision: str | None, token: str | None
) -> Verification:
    """Pulls a model back into an empty folder and compares it.

    Args:
        repo_id: on the Hub.
        items: what it should hold; None compares with the hashes that the Hub itself states.
        folder: the model here, to be run beside it; None only runs the pulled one.
        revision: commit to look at; None for the newest.
        token: for private models.

    Raises:
        UserError: the Hub cannot be asked; what differs is no error but among the problems.
    """
    api = client(token)
    place = get_settings().home / "pulled" / uuid.uuid4().hex
    checks: list[str] = []
    problems: list[str] = []
    try:
        with plainly(repo_id):
            there, commit = _download(api, repo_id, revision, items, place)
        _hashes(place, there, items, checks, problems)
        checks.append(f"pulled back from commit {commit[:12]}")
        try:
            _models(place, folder, checks, problems)
        except UserError as error:
            problems.append(str(error).replace(str(place), repo_id))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for problem in problems:
        log.error("%s is NOT verified: %s", repo_id, problem)
    return Verification(not problems, checks, problems)


DATA = ("*.data", "*_data")  # of ONNX graphs


def logits(folder: Path) -> dict[str, np.ndarray]:
    """What the weights in a folder say to one fixed input: the stored graph on onnxruntime, tensors on torch.

    Returns:
        By file and budget; the length-adaptive graph at full length and at its cheapest point.
    """
    batch = _fixed_input(folder)
    outputs: dict[str, np.ndarray] = {}
    if (folder / catalog.GRAPH).is_file() and (folder / catalog.FRONT).is_file():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = get_settings().threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(folder / catalog.GRAPH), options, providers=["CPUExecutionProvider"])
        wanted = {i.name for i in session.get_inputs()}
        heads = [output.name for output in session.get_outputs() if output.name.endswith("logits")]
        points = Front.load(folder / catalog.FRONT).everything
        count = batch["input_ids"].shape[1]
        for name, point in (("at full length", points[-1]), ("at the cheapest budget", points[0])):
            feed = {**batch, "lengths": np.array([point.config.tokens(count)], np.int64)}
            inputs = {key: value for key, value in feed.items() if key in wanted}
            outputs[f"{catalog.GRAPH} {name}"] = np.array(session.run(heads, inputs))
    elif not has_tensors(folder) and not (folder / INTEGERS).is_file() and (graph := stock_graph(names_in(folder))):
        lengths = np.full((1, Shape.from_config(read_config(folder)).layers), batch["input_ids"].shape[1], np.int64)
        outputs[graph] = open_graph(folder, get_settings().threads).run(batch, lengths).logits
    if (folder / INTEGERS).is_file() and not engine_class("onednn").refusal():
        engine = open_graph(folder, get_settings().threads, "onednn")
        lengths = np.full((1, engine.layers), batch["input_ids"].shape[1])
        outputs[INTEGERS] = engine.run(batch, lengths).logits
    if has_tensors(folder):
        model = pretrained.load_any(folder)
        with torch.inference_mode():
            outputs[catalog.TENSORS] = model(**{k: torch.from_numpy(v) for k, v in batch.items()}).logits.numpy()
    return outputs


def _fixed_input(folder: Path) -> dict[str, np.ndarray]:
    """The first bundled question by the folder's own tokenizer, cut to 192 tokens or what the model has positions for;
    without transformers and torch."""
    longest = most_tokens(normalized(read_config(folder)), TOKENS)
    example = catalog.examples()[0]
    if (folder / "tokenizer.json").is_file():
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        text = tokenizer.encode(example["question"], example["context"])
        ids, types = text.ids, text.type_ids
    else:
        window = make_windows(load_tokenizer(folder), [example["question"]], [example["context"]])[0]
        ids, types = window.input_ids, window.token_type_ids or [0] * len(window.input_ids)
    ids, types = np.array([ids[:longest]], np.int64), np.array([types[:longest]], np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}


def _download(
    api: HfApi, repo_id: str, revision: str | None, items: Sequence[Item] | None, place: Path
) -> tuple[dict[str, Any], str]:
    info = patiently(lambda: api.model_info(repo_id, revision=revision, timeout=15))
    commit = str(info.sha)
    tree = patiently(lambda: list(api.list_repo_tree(repo_id, recursive=True, revision=commit)))
    there = {file.path: file for file in tree if isinstance(file, RepoFile)}
    if items is None:
        names = [name for name in there if safety.matches(name.rpartition("/")[2], (*safety.ALLOWED, PICTURE, *DATA))]
    else:
        names = [item.path for item in items if item.path in there]
    safety.check_size((there[name].size for name in names), repo_id)
    patiently(
        lambda: snapshot_download(
            repo_id,
            revision=commit,
            local_dir=place,
            allow_patterns=names or ["-"],
            token=api.token,
            endpoint=api.endpoint,
        )
    )
    return there, commit


def _hashes(
    place: Path, there: dict[str, Any], items: Sequence[Item] | None, checks: list[str], problems: list[str]
) -> None:
    count = 0
    for name in sorted(item.path for item in items) if items is not None else sorted(there):
        path = place / name
        wanted = next((item for item in items or () if item.path == name), None)
        if not path.is_file():
            if wanted:
                problems.append(f"{name} is missing on the Hub")
        elif wanted.sha256 != sha256(path) if wanted else not Item(name, path).equals(there[name]):
            problems.append(f"{name} is not the file that was meant: its SHA-256 differs")
        else:
            count += 1
    checks.append(f"{count} files have the right SHA-256")


def _models(place: Path, folder: Path | None, checks: list[str], problems: list[str]) -> None:
    catalog.open_folder(place)
    there = logits(place)
    if not all(np.isfinite(values).all() for values in there.values()):
        problems.append("the pulled model's logits are not finite")
    if folder is None:
        checks.append(f"the pulled model runs ({', '.join(there)})")
        return
    here = logits(folder)
    for name, expected in here.items():
        got = there.get(name)
        if got is None or got.shape != expected.shape:
            problems.append(f"{name}: the pulled model gives other outputs than the one here")
            continue
        far = float(np.abs(got - expected).max())
        if far <= TOLERANCE:
            checks.append(f"{name}: logits equal within {TOLERANCE:g} (largest difference {far:.2g})")
        else:
            problems.append(f"{name}: logits differ by up to {far:.3g}")
