"""Which part of a model suffers from eight bits: each product quantized alone, the others in float."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from compress.data.names import OWN
from compress.data.squad import BUNDLED
from compress.int8.graph import Calibrated, calibrate_checkpoint
from compress.int8.rounding import WORDS, integer_weights, operators
from compress.int8.simulation import place, simulate
from compress.recipe.groups import Quantize
from compress.tasks import losses
from compress.tasks.subject import Asked
from compress.tasks.subjects import kind_of, subject_for
from zoo import catalog
from zoo.checkpoints import compared_as, head_of, read_config
from zoo.errors import UserError
from zoo.features import Window, load_tokenizer, pad
from zoo.modeling import LengthAdaptiveModel
from zoo.operators import Weights, dequantized
from zoo.task_types import TaskType
from zoo.weights import float_weights, linears

WINDOWS = 32  # that a criterion measures on, at most


@dataclass(frozen=True)
class Row:
    """One product.

    Attributes:
        name: as in the graph, `layers.0.qkv` for example, or `words` for the word embeddings.
        kl: Kullback-Leibler divergence in nats from the float model's answer to the one with this product in integers,
            mean over windows (and over start and end, or tokens); of a regression, the mean squared difference.
        share: of the sum of all products' divergences.
        parameters: weights that it has.
    """

    name: str
    kl: float
    share: float
    parameters: int


@dataclass(frozen=True)
class Report:
    """Rows, the most sensitive first.

    Attributes:
        together: divergence with everything quantized at once.
        windows: how many it is the mean of.
        approach: "static" or "dynamic".
    """

    rows: list[Row]
    together: float
    windows: int
    approach: str

    @classmethod
    def of(
        cls, divergences: Mapping[str, float], sizes: Mapping[str, int], together: float, windows: int, approach: str
    ) -> Report:
        """A report from each product's divergence and number of weights."""
        everything = max(sum(divergences.values()), 1e-12)
        rows = [Row(name, kl, kl / everything, sizes[name]) for name, kl in divergences.items()]
        return cls(sorted(rows, key=lambda row: -row.kl), together, windows, approach)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def table(self) -> str:
        """For people: a line a product, with a bar as long as its share."""
        wide = max(len(row.name) for row in self.rows)
        longest = max(max(row.share for row in self.rows), 1e-12)
        lines = [f"{'product':{wide}}  {'KL, nats':>9}  {'share':>6}  {'parameters':>10}"]
        lines += [
            f"{row.name:{wide}}  {row.kl:9.5f}  {row.share:6.1%}  {row.parameters:10,}  "
            + "█" * round(20 * row.share / longest)
            for row in self.rows
        ]
        return "\n".join([*lines, f"{'all at once':{wide}}  {self.together:9.5f}", f"mean over {self.windows} windows"])


def measure(
    ready: Calibrated, settings: Quantize, windows: Sequence[Window], progress: Callable[[int, int], None] | None = None
) -> Report:
    """Quantizes every product alone and compares what the model answers with what it answers in float.

    Args:
        ready: the model with the ranges of its inputs; it is the same afterwards.
        settings: how.
        windows: inputs to answer, each by itself and at full length.
        progress: called with (products done, products in all).

    Raises:
        UserError: there are no windows.
    """
    if not windows:
        raise UserError("There is nothing to measure the sensitivity on: give at least one question.")
    model = ready.model.untied().eval()  # a product's weights, where layers share them, are to change alone
    floats = float_weights(model)
    reduce_range = settings.reduce_range is not False
    integers = integer_weights(floats, linears(model), ready.ranges, reduce_range, settings.smoothing)
    batches = [{key: torch.from_numpy(value) for key, value in pad([window]).items()} for window in windows]
    exact = answers(model, batches)
    names, kind = operators(model), compared_as(model.config)
    divergences: dict[str, float] = {}
    for done, name in enumerate(names):
        with only_rounded(model, integers, name):
            divergences[name] = divergence(answers(model, batches), exact, kind)
        if progress:
            progress(done + 1, len(names))
    together = divergence(answers(simulate(model, integers), batches), exact, kind)
    approach = "dynamic" if ready.ranges is None else "static"
    sizes = {name: floats[f"{name}.w"].size for name in names}
    return Report.of(divergences, sizes, together, len(windows), approach)


@contextmanager
def only_rounded(model: LengthAdaptiveModel, integers: Weights, name: str) -> Generator[None]:
    """Within, `name` of the model computes as the integer graph does; afterwards it is in float again."""
    modules = [model.words] if name == WORDS else linears(model)[name]
    before = [{key: value.clone() for key, value in module.state_dict().items()} for module in modules]
    handles = []
    try:
        if name == WORDS:
            with torch.no_grad():
                model.words.weight.copy_(torch.from_numpy(dequantized(integers, "words")))
        else:
            handles = place(model, integers, [name])
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, state in zip(modules, before, strict=True):
            module.load_state_dict(state)


def answers(model: LengthAdaptiveModel, batches: Sequence[dict[str, Tensor]]) -> list[Tensor]:
    """Logits of every batch."""
    with torch.inference_mode():
        return [model(**batch).logits for batch in batches]


def divergence(got: Sequence[Tensor], exact: Sequence[Tensor], kind: TaskType) -> float:
    """Mean over batches of KL(exact || got), see `compress.tasks.losses.divergence`."""
    return sum(float(losses.divergence(mine, other, kind)) for mine, other in zip(got, exact, strict=True)) / len(got)


def of_entry(
    name: str,
    source: str | None = None,
    questions: int = 32,
    approach: Literal["static", "dynamic"] = "static",
    seed: int = 0,
    task: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """The sensitivity of an entry's float checkpoint.

    Args:
        name: a bundled name, a folder or a Hub id.
        source: questions, see `load_squad`, or a classifier's texts, see `load_texts`; by default the bundled
            questions, or the task's own data set. Some are measured on, others calibrated with.
        questions: how many are measured on, drawn at random with `seed`.
        approach: "static" or "dynamic".
        task: one of `zoo.tasks`, where the entry does not say it.

    Raises:
        UserError: no such entry, data or task, or a task that is not the entry's.
    """
    folder = catalog.find(name).float_folder
    config = read_config(folder)
    row = kind_of(head_of(config)).task_of(name, config, Asked(task))
    settings, subject, tokenizer = Quantize(approach=approach), subject_for(row), load_tokenizer(folder)
    everything = subject.read(source or (BUNDLED if row.type.has_articles else OWN))
    chosen = random.Random(seed).sample(everything, min(len(everything), questions + settings.calibration_samples))
    calibration = subject.windows(tokenizer, chosen[questions:] or chosen)
    ready = calibrate_checkpoint(folder, settings, lambda _: calibration)
    return measure(ready, settings, subject.windows(tokenizer, chosen[:questions]), progress)
