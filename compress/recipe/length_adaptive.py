"""The kind `length_adaptive`: QuaLA-MiniLM's LengthDrop, search and int8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from compress.data.names import data_name, short_name
from compress.recipe.groups import (
    Dataset,
    Evaluate,
    Learning,
    Package,
    Quantize,
    Training,
)
from compress.recipe.kind import EVALUATE, LEARNED, PACKAGE, RAY, TAUGHT, TEACHING, Need, Trained, training
from compress.recipe.length_groups import Finetune, LengthDrop, Search
from compress.recipe.stage import Stage
from compress.recipe.training_groups import Average, Distill
from compress.recipe.work import BACKWARD, INT8, Counts, Work

_WINDOWS = ("length_drop.max_length", "length_drop.stride")
RANKED = {
    "attention": "the attention that they receive",
    "learned": "what scorers learned of the last layers' attention",
}
POOLED = {
    "restored": "all tokens, each with its last state",
    "left": "the tokens that were never dropped",
    "mapped": "all tokens, a dropped one's last state brought to the last layer by a matrix",
}
_GUIDED = ("drop_layers", "length_drop_ratio_bound")  # of length_drop, where fine-tuning asks for attention already


class LengthAdaptiveRecipe(Trained):
    """teacher -> finetune -> length_drop -> average -> search -> quantize -> evaluate -> package.

    QuaLA-MiniLM, arXiv 2210.17114.
    """

    takes_vectors: ClassVar[bool] = True
    stages: ClassVar = {
        "teacher": Stage(
            "compress.learn.distill:teacher",
            ("model", "tokenizer", *LEARNED, "finetune.max_length", "finetune.stride", *TAUGHT),
            also=(
                *TEACHING,  # and which trainings there are, which says what the teacher is asked about
                ("length_drop.apply", "not length_drop.apply"),
                *((key, "not finetune.apply") for key in ("finetune.apply", *_WINDOWS)),
            ),
            only_if="distill.apply",
            mark="compress.methods.distill:teacher",
        ),
        "finetune": Stage(
            "compress.learn.finetune:run",
            ("model", "tokenizer", "dataset", "finetune", "distill", "training"),
            spread=True,
            also=tuple((f"length_drop.{key}", "finetune.significance_weight") for key in _GUIDED),
            only_if="finetune.apply",
            checkpoint=True,
            mark="compress.methods.finetune:run",
        ),
        "length_drop": Stage(
            "compress.learn.length_drop:run",
            ("dataset", "length_drop", "distill", "training"),
            spread=True,
            also=(("model", "not finetune.apply"),),
            only_if="length_drop.apply",
            checkpoint=True,
            mark="compress.methods.length_drop:run",
        ),
        "average": Stage(
            "compress.learn.average:run",
            ("average",),
            also=(
                *((key, "not finetune.apply") for key in ("model", "finetune.max_length", "finetune.stride")),
                ("length_drop.length_drop_ratio_bound", "not length_drop.apply"),
            ),
            checkpoint=True,
            mark="compress.methods.average:run",
        ),
        "search": Stage(
            "compress.learn.length_search:run",
            ("dataset", "search", "quantize", "evaluate.engine"),
            also=(("evaluate.threads", "search.objective != macs"),),
            mark="compress.methods.search:run",
        ),
        "quantize": Stage("compress.int8.stage:at_front", ("quantize",), mark="compress.methods.quantize_onnx:run"),
        "evaluate": EVALUATE,
        "package": PACKAGE,
    }
    suffix: ClassVar[str] = "-length-adaptive-int8"
    kind: Literal["length_adaptive"] = Field(default="length_adaptive", description="which method")
    dataset: Dataset
    finetune: Finetune = Finetune()
    length_drop: LengthDrop = LengthDrop()
    distill: Distill = Distill()
    average: Average = Average()
    search: Search = Search()
    quantize: Quantize = Quantize()
    evaluate: Evaluate = Evaluate()
    package: Package = Package()
    training: Training = Training()

    @model_validator(mode="after")
    def _parts_fit(self) -> LengthAdaptiveRecipe:
        if self.distill.apply and self.distill.store_logits:
            self.check_windows("finetune", "length_drop")
        trains = self.finetune.apply or self.length_drop.apply
        if self.distill.apply and not trains:
            raise ValueError(
                "distill.apply teaches in training: set finetune.apply or length_drop.apply to true, or it to false"
            )
        if self.tokenizer and not self.finetune.apply:
            raise ValueError("tokenizer is taken up in fine-tuning: set finetune.apply to true, or tokenizer to null")
        is_taught = self.distill.apply and self.distill.teacher_weight > 0
        if self.length_drop.full_every > 1 and not (is_taught and self.length_drop.num_sandwich):
            raise ValueError(
                "length_drop.full_every leaves steps to the random sub-models and distill's teacher: set distill.apply "
                "to true, its teacher_weight above 0 and num_sandwich to 1 or more, or full_every to 1"
            )
        about = self.dataset.type
        if not about.has_spans and (self.finetune.significance_weight or self.length_drop.significance_weight):
            raise ValueError(
                f"significance_weight guides attention to answers, which {about.noun} have not: set both to 0"
            )
        if self.length_drop.pooled and about.reads != "pooled":
            raise ValueError(f"length_drop.pooled is for embeddings, and {about.noun} are none: leave it out")
        if self.length_drop.neighbours > 1 and about.reads != "pooled":
            raise ValueError(f"length_drop.neighbours are of embeddings, and {about.noun} are none: leave it out")
        return self

    def needs(self) -> Iterator[Need]:
        yield from super().needs()
        if self.search.workers > 1:
            yield RAY

    def work(self, counts: Counts) -> list[Work]:
        learned, report = self.learned(counts), self.reported(counts, 1 + self.search.points)
        drop, search = self.length_drop, self.search
        tried = search.population + search.iterations * (search.mutations + search.crossovers)
        workers = search.workers if search.objective == "macs" else 1
        return [
            *([training(learned, self.finetune)] if self.finetune.apply else []),
            *([training(learned, drop, BACKWARD * (2 / drop.full_every + drop.num_sandwich))] if drop.apply else []),
            Work(counts.passes("validation", search.max_questions) * tried / INT8 / workers),
            report,
        ]

    @property
    def makes_head(self) -> bool:
        return bool(self.trainings)

    @property
    def trainings(self) -> tuple[Learning, ...]:
        return tuple(part for part in (self.finetune, self.length_drop) if part.apply)

    @property
    def reading(self) -> Learning:
        """How questions become windows: as in the first training that there is."""
        return self.length_drop if self.length_drop.apply and not self.finetune.apply else self.finetune

    @property
    def method(self) -> str:
        return "length-drop" if self.length_drop.apply else "fine-tuned" if self.finetune.apply else "none"

    @property
    def int8_method(self) -> str:
        return "length-adaptive-int8"

    def _trained(self, facts: dict[str, Any]) -> dict[str, Any]:
        """What cards say first; of a checkpoint that is searched as it is that nothing was trained."""
        recipe, model, data = (facts.pop(key) for key in ("recipe", "trained from", "trained on"))
        if self.trainings:
            return {"recipe": recipe, "trained from": model, "trained on": data}
        return {"recipe": recipe, "searched for": model, "calibrated on": data}

    def _pooled(self) -> dict[str, str]:
        drop = self.length_drop
        return {"vectors are made of": POOLED[drop.pooled]} if drop.apply and drop.pooled else {}

    def origin(self) -> dict[str, Any]:
        facts, averaged = super().origin(), self.average.checkpoints
        return {
            **self._trained(facts),
            "searched on": data_name(self.dataset, "validation"),
            "search objective": self.search.objective,
            **facts,
            **({"tokens ranked by": RANKED[self.length_drop.significance]} if self.length_drop.apply else {}),
            **self._pooled(),
            **({"averaged with": ", ".join(map(short_name, averaged))} if averaged else {}),
        }
