"""Every family of encoders with every head: opened, compared with transformers, quantized, scored and asked.

Models are small and random, so nothing is said of how well they answer: what is shown is that they run, and how often
eight bits decide as float does. A refusal is a sentence; anything else that goes wrong is a fault, and fails the run.
"""

from __future__ import annotations

import inspect
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from bench.report import Json, report
from compress.int8.stage import prepared
from compress.recipe.groups import Quantize
from zoo import catalog, torchvision_fix
from zoo.asking import open_entry
from zoo.encoders import ENCODERS
from zoo.engines import GRAPH, engine_class, names, open_float, open_graph
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.families import FAMILIES
from zoo.features import Tokenizer, Window, load_tokenizer, make_texts, make_windows, pad
from zoo.lengths import Front, LengthConfig, Point
from zoo.opened import run_one
from zoo.task_types import TASK_TYPES, TaskType
from zoo.tasks import RANKING

app = typer.Typer()
LABELS = ("one", "two", "three")
SIZES: dict[str, Any] = dict(
    hidden_size=32,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=512,
    initializer_range=0.3,  # with the usual 0.02 every token looks alike to so small a model
)
_RELATIVE: dict[str, Any] = dict(relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False)
OWN: dict[str, dict[str, Any]] = {
    "deberta": _RELATIVE,
    "deberta-v2": {**_RELATIVE, "share_att_key": True, "position_buckets": 16, "norm_rel_ebd": "layer_norm"},
    "mobilebert": dict(
        embedding_size=16,
        intra_bottleneck_size=16,
        true_hidden_size=16,
        num_attention_heads=2,
        initializer_range=0.05,  # it has no norm that would keep what is larger in bounds
    ),
    "rembert": dict(input_embedding_size=16, output_embedding_size=16),
    "squeezebert": dict(embedding_size=32),
    "eurobert": dict(num_key_value_heads=4, head_dim=8),
}  # what only the family's configuration has
EXAMPLES = 3
TEXT, LINES = "Who was Marie Curie?", "Marie Curie was born in Warsaw.\nThe lake is deep."
Cell = str | float


@dataclass(frozen=True)
class Row:
    """A family with a head. A cell is a figure, or a sentence on why there is none.

    Attributes:
        family: its title.
        head: of what type of task.
        by: what computes the float model.
        float: largest difference of its logits from transformers' own.
        static, dynamic: how often that int8 decides as float does, in percent; of vectors, their cosine; the lower of
            the runtimes.
        asked: what the static int8 entry says.
        faults: cells that hold what went wrong.
    """

    family: str
    head: str
    by: str
    float: Cell
    static: Cell = ""
    dynamic: Cell = ""
    asked: Cell = ""
    faults: int = 0


def small_model(
    family: str, head: TaskType, vocabulary: int, pad_id: int, labels: Sequence[str] = LABELS, layers: int = 2
) -> Any:
    """A small random model of transformers.

    Raises:
        UserError: transformers has none of this family with this head.
    """
    torchvision_fix.mend()
    import transformers

    given = {"vocab_size": vocabulary, "pad_token_id": pad_id, "num_hidden_layers": layers, **SIZES}
    given |= OWN.get(family, {})
    row = FAMILIES.get(family)
    given |= {own: given[name] for own, name in (row.sizes if row else {}).items() if name in given}
    if head is RANKING:
        given |= {"num_labels": 1, "finetuning_task": RANKING.name}
    elif head.has_labels:
        given |= {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    config = transformers.AutoConfig.for_model(family, **given)
    torch.manual_seed(0)
    try:
        model = getattr(transformers, f"AutoModel{head.ending.removeprefix('Model')}").from_config(config).eval()
    except ValueError as error:
        raise UserError(f"transformers has no {head.ending} of this family") from error
    with torch.no_grad():  # biases too are other than zero
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def compare(families: Sequence[str] = ()) -> Iterator[Row]:
    """Builds, opens, quantizes, scores and asks a model of every family and head.

    Args:
        families: their `model_type`s; all without any.
    """
    tokenizer = load_tokenizer(catalog.find("minilm-l6-qa").folder)
    for family in families or (*FAMILIES, *ENCODERS):
        title = next((rows[family].title for rows in (FAMILIES, ENCODERS) if family in rows), family)
        by = "transformers" if family in ENCODERS else "this program"
        for head in TASK_TYPES.values():
            with tempfile.TemporaryDirectory() as scratch:
                cells, faults = _cells(family, head, tokenizer, Path(scratch))
            yield Row(title, head.title, by, *cells, faults=faults)


def _cells(family: str, head: TaskType, tokenizer: Tokenizer, scratch: Path) -> tuple[list[Cell], int]:
    """A row's cells, and how many of them are faults."""
    faults, checkpoint = 0, scratch / "float"
    windows = _windows(head, tokenizer)

    def cell(work: Callable[[], Cell]) -> Cell:
        nonlocal faults
        try:
            return work()
        except UserError as error:
            return str(error)
        except Exception as error:
            logging.getLogger(__name__).exception("%s, %s", family, head.title)
            faults += 1
            return f"FAULT {type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"

    def opened() -> Cell:
        layers = 1 if family in ENCODERS else 2  # an export takes its time by layers
        model = small_model(family, head, len(tokenizer), tokenizer.pad_token_id, layers=layers)
        model.save_pretrained(checkpoint)
        tokenizer.save_pretrained(str(checkpoint))
        engine = open_float(catalog.find(str(checkpoint)).float_folder, 1)
        return max(float(np.abs(_said(engine, w) - _of_transformers(model, head, w)).max()) for w in windows)

    def quantized(approach: str) -> Cell:
        settings = Quantize.model_validate({"approach": approach})
        prepared(checkpoint, settings, lambda _: windows).store(scratch / approach)
        exact = open_float(checkpoint, 1)
        wrong = ENCODERS[family].not_on if family in ENCODERS else ()
        able = [name for name in names(GRAPH) if not {name, engine_class(name).beside} & {*wrong}]
        return min(_agreement(head, open_graph(scratch / approach, 1, name), exact, windows) for name in able)

    def asked() -> Cell:
        folder = scratch / "static"
        if (folder / GRAPH).is_file():  # its one point is full length; nothing was measured
            layers = open_float(checkpoint, 1).layers
            full = Point(LengthConfig.full(layers), 1.0, {"f1": 0.0})
            Front(full, [full]).save(folder / "front.json")
        reply = open_entry(catalog.find(str(folder)), threads=1).ask(TEXT, None if one_text(head) else LINES)
        return reply.words or "(nothing)"

    cells = [cell(opened)]
    if isinstance(cells[0], float):
        cells += [cell(lambda: quantized("static")), cell(lambda: quantized("dynamic"))]
        cells.append(cell(asked) if isinstance(cells[1], float) else "")
    return cells, faults


def one_text(head: TaskType) -> bool:
    """Whether a head is asked about one text, without a passage or lines beside it."""
    return head.has_labels and head is not RANKING


def _windows(head: TaskType, tokenizer: Tokenizer) -> list[Window]:
    examples = catalog.examples()[:EXAMPLES]
    firsts, seconds = [e["question"] for e in examples], [e["context"] for e in examples]
    if head.has_articles:
        return make_windows(tokenizer, firsts, seconds, 128, 32)[:EXAMPLES]
    return make_texts(tokenizer, seconds, firsts if head is RANKING else None, 128)


def _said(engine: Engine, window: Window) -> np.ndarray:
    return run_one(engine, window, LengthConfig.full(engine.layers)).logits


def _of_transformers(model: torch.nn.Module, head: TaskType, window: Window) -> np.ndarray:
    """What transformers' own model says of an input."""
    has_types = getattr(model.config, "type_vocab_size", 2) > 1
    taken = inspect.signature(model.forward).parameters
    feed = {
        name: torch.from_numpy(values)
        for name, values in pad([window]).items()
        if name in taken and (has_types or name != "token_type_ids")
    }
    with torch.inference_mode():
        out = model(**feed)
    if head.reads == "pooled":
        return torch.nn.functional.normalize(out.last_hidden_state.mean(1), dim=1).numpy()
    return (torch.stack([out[name] for name in head.outputs], -1) if len(head.outputs) > 1 else out.logits).numpy()


def _agreement(head: TaskType, engine: Engine, exact: Engine, windows: Sequence[Window]) -> float:
    """How often two engines decide alike, in percent; of vectors their cosine, of scores what is left of the spread."""
    pairs = [(_said(engine, window)[0], _said(exact, window)[0]) for window in windows]
    if head.reads == "pooled":
        return 100 * float(np.mean([np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))
    if head is RANKING:
        mine, theirs = (np.concatenate([pair[i] for pair in pairs]) for i in (0, 1))
        return 100 * float(np.mean(np.argsort(mine) == np.argsort(theirs)))
    axis = 0 if head.has_spans else -1  # the place of a start and of an end, else the label
    return 100 * float(np.mean(np.concatenate([np.ravel(a.argmax(axis) == b.argmax(axis)) for a, b in pairs])))


HEAD = (
    "| family | head | float by | differs from transformers by | static int8 | dynamic int8 | asked |\n"
    "|---|---|---|--:|--:|--:|---|"
)


def line(row: Row) -> str:
    """A row of the Markdown table."""

    def cell(value: Cell, digits: str = "") -> str:
        return value.replace("|", "/").replace("\n", " ") if isinstance(value, str) else format(value, digits)

    figures = (cell(row.float, ".1e"), cell(row.static, ".0f"), cell(row.dynamic, ".0f"), cell(row.asked))
    return f"| {row.family} | {row.head} | {row.by} | {' | '.join(figures)} |"


@app.command("families")
def command(
    family: Annotated[list[str] | None, typer.Option(metavar="TYPE", help="`model_type`; by default all")] = None,
    path: Json = None,
) -> None:
    """Every family and head: small random models, opened, quantized, scored against float, asked."""
    if unknown := [name for name in family or () if name not in {**FAMILIES, **ENCODERS}]:
        raise UserError(f"There is no family {unknown[0]!r}: choose of {', '.join([*FAMILIES, *ENCODERS])}.")
    typer.echo(HEAD)
    rows = list[Row]()
    for row in compare(family or ()):
        rows.append(row)
        typer.echo(line(row))
    report("", path, [asdict(row) for row in rows])
    if faults := sum(row.faults for row in rows):
        raise UserError(f"{faults} cells hold faults: see above.")
