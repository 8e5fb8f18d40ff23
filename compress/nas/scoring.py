"""What a candidate of the search is worth: scored inside the tuned supernet, or fine-tuned first as in the paper.

With int8 the score is that of the file that would be shipped: the candidate is cut out, calibrated and written as the
program's own int8 graph, and onnxruntime answers with it. That takes a second or two and is faster to run than the
float model, so nothing is simulated. The paper's loop rounded only weights, of all tensors, and so scored something
that was never served (LukeBailey181/bigger_and_faster, `quantize_utils.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from compress.int8.graph import Calibrated, store_graph
from compress.int8.ranges import calibrate
from compress.learn.finetune import learn
from compress.learn.student import Student, Workplace
from compress.nas.extract import check_plain, extract
from compress.nas.space import Arch
from compress.nas.supernet import SuperNet
from compress.progress import Progress
from compress.recipe.groups import Learning, Quantize, Training
from compress.tasks.subject import Subject
from compress.tasks.subjects import Read, subject_of
from zoo.devices import compute_device
from zoo.engines.base import Engine
from zoo.engines.onnx import OnnxEngine
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, pad
from zoo.modeling import LengthAdaptiveModel
from zoo.settings import get_settings

Tell = Callable[[int, int], None]


class Teaching(Read, Protocol):
    """A recipe with what all its trainings share."""

    @property
    def training(self) -> Training: ...


def inside(net: SuperNet, arch: Arch) -> LengthAdaptiveModel:
    """A sub-network with the weights that it has in a tuned supernet, to be given to `Scorer.score`.

    Raises:
        UserError: the supernet was not tuned on a task, or has no such sub-network.
    """
    check_plain(arch)
    model = net.extract(arch)
    if not isinstance(model, LengthAdaptiveModel):
        raise UserError("This supernet tells masked words and was not tuned on a task. Run the stage tune first.")
    return model


@dataclass(frozen=True)
class Scorer:
    """How candidates of a search are scored, all by the same examples.

    Attributes:
        subject: what they are about.
        tokenizer: of the supernet.
        examples: to score on, of `subject.load`; never those that are reported on.
        quantize: as what int8 graph a candidate is scored; None: in float32.
        calibration: for int8 the windows whose ranges count; None draws them by `calibration_windows`.
        threads: of the engine; None as the settings have it.
    """

    subject: Subject[Any]
    tokenizer: Tokenizer
    examples: Sequence[Any]
    quantize: Quantize | None = None
    calibration: Sequence[Window] | None = None
    threads: int | None = None

    def score(self, model: LengthAdaptiveModel, progress: Tell | None = None) -> dict[str, float]:
        """Scores a candidate by itself.

        Args:
            model: what `inside` or `finetune_candidate` gave.
            progress: called with (examples done, examples in all).

        Returns:
            The task's metrics in points of 100, the primary one first, and `n`.
        """
        subject, threads = self.subject, self.threads or get_settings().threads
        if self.quantize is None:
            engine: Engine = TorchEngine(model, threads, compute_device())
            return subject.score(engine, self.tokenizer, self.examples, None, progress, model.config)
        with tempfile.TemporaryDirectory(prefix="candidate-") as folder:
            engine = int8_engine(model, subject, self.tokenizer, Path(folder), self.quantize, self.calibration, threads)
            return subject.score(engine, self.tokenizer, self.examples, None, progress, model.config)


def int8_engine(
    model: LengthAdaptiveModel,
    subject: Subject[Any],
    tokenizer: Tokenizer,
    folder: Path,
    settings: Quantize,
    calibration: Sequence[Window] | None,
    threads: int,
) -> Engine:
    """Writes a model's int8 graph into `folder` and opens it: what stage `quantize` makes of the same weights."""
    model = model.eval()
    ranges, windows = None, list(calibration or ())
    if settings.approach == "static":
        windows = windows or calibration_windows(subject, tokenizer, settings.calibration_samples)
        batches = [{key: torch.from_numpy(value) for key, value in pad([window]).items()} for window in windows]
        percentile = 100.0 if settings.calibration_method == "minmax" else settings.percentile
        ranges = calibrate(model, batches, (), percentile)
    store_graph(Calibrated(model, tokenizer, ranges, len(windows)), folder, settings)
    return OnnxEngine.open(folder, threads)


def calibration_windows(subject: Subject[Any], tokenizer: Tokenizer, samples: int, seed: int = 0) -> list[Window]:
    """Windows of so many training examples, drawn at random; the same for the same seed."""
    return subject.windows(tokenizer, subject.load("train", samples, seed))


def finetune_candidate(
    net: SuperNet,
    arch: Arch,
    recipe: Teaching,
    settings: Learning,
    folder: Path,
    progress: Progress,
    tokenizer: Tokenizer,
) -> LengthAdaptiveModel:
    """Cuts a sub-network out and fine-tunes it by itself: the paper's way to find out what a candidate is worth.

    Args:
        net: a supernet, tuned or not; a head that is not the task's is replaced by a new one.
        arch: which sub-network.
        recipe: whose data are learned from.
        settings: of the training.
        folder: the candidate's own. A finished one is read, an interrupted one goes on; the checkpoint stays in it.
        progress: hears of every step.
        tokenizer: of the supernet.

    Returns:
        The fine-tuned model, to be given to `Scorer.score`.

    Raises:
        UserError: nothing can be learned from the recipe's data.
    """
    subject, start = subject_of(recipe, settings), folder / "start"
    if (folder / "model.safetensors").is_file():
        return subject.load_model(folder)
    if not (start / "config.json").is_file():  # written last
        extract(net, arch, start, tokenizer)
    torch.manual_seed(recipe.training.seed)
    model = subject.load_model(start, settings.dropout)
    data = subject.samples(tokenizer, subject.load("train"))
    place = Workplace(recipe.training, folder, progress)
    learn(place, Student(model, tokenizer, data), settings, subject.loss(), model.save)
    return model
