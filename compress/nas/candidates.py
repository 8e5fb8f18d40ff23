"""How good candidates of a search are on a recipe's validation data, each by the same examples and calibration."""

from __future__ import annotations

import shutil
from functools import cached_property
from typing import Any

from compress.nas.base import Base
from compress.nas.scoring import Scorer, calibration_windows, finetune_candidate, inside
from compress.nas.space import Arch
from compress.nas.supernet import SuperNet
from compress.progress import Progress
from compress.recipe.nas import NasRecipe
from compress.recipe.stage import StageContext
from compress.tasks.subject import Subject
from compress.tasks.subjects import examples_to_search, subject_of
from zoo.features import Window, load_tokenizer


class Candidates:
    """Scores encoders of a space as a recipe's `search` group says.

    Args:
        ctx: the stage's.
        base: what they are cut out of.

    Raises:
        UserError: the data to search on are trained or reported on too.
    """

    def __init__(self, ctx: StageContext[NasRecipe], base: Base):
        self.ctx, self.base, self.settings = ctx, base, ctx.recipe.search
        self.subject = subject_of(ctx.recipe)
        self.tokenizer = load_tokenizer(base.folder)
        self.examples = examples_to_search(ctx, self.settings.max_examples, self.settings.seed)

    @property
    def primary(self) -> str:
        """Key of the metric that decides."""
        return self.subject.primary

    def score(self, arch: Arch) -> dict[str, float]:
        """Metrics in points of 100, the primary one first, and `n`."""
        if self.settings.scoring == "inside":
            return self.scorer.score(inside(self.net, arch))
        folder, recipe = self.ctx.folder / "candidates" / arch.key, self.ctx.recipe
        notes = _Notes(self.ctx.progress, arch.key)
        model = finetune_candidate(self.net, arch, recipe, recipe.finetune, folder, notes, self.tokenizer)
        metrics = self.scorer.score(model.eval())
        shutil.rmtree(folder, ignore_errors=True)  # a score is kept, hundreds of checkpoints are not
        return metrics

    @cached_property
    def net(self) -> SuperNet:
        return net_of(self.ctx.recipe, self.base, self.subject)

    @cached_property
    def scorer(self) -> Scorer:
        """What scores every candidate, of training by itself or not."""
        if self.settings.approach != "ptq":
            return Scorer(self.subject, self.tokenizer, self.examples)
        return Scorer(self.subject, self.tokenizer, self.examples, self.ctx.recipe.quantize, self.calibration)

    @cached_property
    def calibration(self) -> list[Window] | None:
        """Training windows to calibrate on, the same for all candidates."""
        if self.ctx.recipe.quantize.approach != "static":
            return None
        most = self.settings.calibration_samples
        return calibration_windows(self.subject, self.tokenizer, most, self.settings.seed)[:most]


class _Notes(Progress):
    """Tells of a candidate's training in notes: the stage's bar counts candidates."""

    def __init__(self, progress: Progress, name: str):
        super().__init__(None, name, bar=False, shown=False)
        self._progress, self._quarters = progress, 0

    def update(self, step: int, total: int, **figures: Any) -> None:
        quarter = 4 * step // max(total, 1)
        if quarter > self._quarters:
            self._quarters = quarter
            self._progress.note(f"{self.stage}: {step} of {total} steps")

    def note(self, message: str) -> None:
        self._progress.note(f"{self.stage}: {message}")


def net_of(recipe: NasRecipe, base: Base, subject: Subject[Any]) -> SuperNet:
    """The supernet of a search: tuned on the task, or as it is where candidates are fine-tuned by themselves."""
    if recipe.search.scoring == "inside":
        return SuperNet.load(base.folder, base.space, subject.load_model)
    return SuperNet.load(base.folder, base.space)
