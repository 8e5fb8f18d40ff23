"""How good candidates of a search are on a recipe's validation data, each by the same examples and calibration."""

from __future__ import annotations

import shutil
from functools import cached_property
from typing import Any

from compress.nas.base import Base
from compress.nas.scoring import calibration_windows, finetune_candidate, inside, score_model
from compress.nas.space import Arch
from compress.nas.supernet import SuperNet
from compress.tasks.subjects import subject_of, trained_on
from zoo.features import load_tokenizer


class Candidates:
    """Scores encoders of a space as a recipe's `search` group says.

    Args:
        ctx: the stage's.
        base: what they are cut out of.

    Raises:
        UserError: the data to search on are trained or reported on too.
    """

    def __init__(self, ctx: Any, base: Base):
        self.ctx, self.base, self.settings = ctx, base, ctx.recipe.search
        self.subject = subject_of(ctx.recipe)
        self.tokenizer = load_tokenizer(base.folder)
        self.examples = self.subject.load("validation", self.settings.max_examples, self.settings.seed)
        what = f"the {self.subject.noun} to search on"
        self.subject.refuse_overlap(trained_on(ctx), self.examples, what)
        reported = self.subject.fingerprints(self.subject.load("evaluation"))
        self.subject.refuse_overlap(reported, self.examples, what, "are reported on")

    @property
    def primary(self) -> str:
        """Key of the metric that decides."""
        return self.subject.primary

    def score(self, arch: Arch) -> dict[str, float]:
        """Metrics in points of 100, the primary one first, and `n`."""
        settings = self.settings
        int8 = settings.approach == "ptq"
        how = {
            "subject": self.subject,
            "tokenizer": self.tokenizer,
            "examples": self.examples,
            "int8": int8,
            "calibration": self.calibration if int8 else None,
            "quantize": self.ctx.recipe.quantize,
        }
        if settings.scoring == "inside":
            return score_model(inside(self.net, arch), **how)
        folder, recipe = self.ctx.folder / "candidates" / arch.key, self.ctx.recipe
        told = _Within(self.ctx.progress, arch.key)
        model = finetune_candidate(self.net, arch, recipe, recipe.finetune, folder, told, self.tokenizer)
        found = score_model(model.eval(), **how)
        shutil.rmtree(folder, ignore_errors=True)  # a score is kept, hundreds of checkpoints are not
        return found

    @cached_property
    def net(self) -> SuperNet:
        return net_of(self.ctx.recipe, self.base, self.subject)

    @cached_property
    def calibration(self) -> list[Any] | None:
        """Training windows to calibrate on, the same for all candidates."""
        if self.ctx.recipe.quantize.approach != "static":
            return None
        most = self.settings.calibration_samples
        return calibration_windows(self.subject, self.tokenizer, most, self.settings.seed)[:most]


class _Within:
    """Tells of a candidate's training in notes: the stage's bar counts candidates."""

    def __init__(self, progress: Any, name: str):
        self._progress, self._name, self._told = progress, name, 0

    def update(self, step: int, total: int, **_figures: Any) -> None:
        quarter = 4 * step // max(total, 1)
        if quarter > self._told:
            self._told = quarter
            self._progress.note(f"{self._name}: {step} of {total} steps")

    def note(self, message: str) -> None:
        self._progress.note(f"{self._name}: {message}")


def net_of(recipe: Any, base: Base, subject: Any) -> SuperNet:
    """The supernet of a search: tuned on the task, or as it is where candidates are fine-tuned by themselves."""
    if recipe.search.scoring == "inside":
        return SuperNet.load(base.folder, base.space, subject.load_model)
    return SuperNet.load(base.folder, base.space)
