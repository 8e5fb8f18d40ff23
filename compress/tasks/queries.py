"""Queries whose passages are to be sorted by a model that reads both together: how they are learned and scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from compress.data.examples import Example, QueryExample
from compress.data.intake import Intake
from compress.data.names import OWN
from compress.data.queries import load_queries
from compress.tasks.heads import replace_head
from compress.tasks.losses import plain
from compress.tasks.metrics import ranking_scores
from compress.tasks.rows import Rows
from compress.tasks.samples import Loss, Sample
from compress.tasks.searches import gains_of, relevant_passages
from compress.tasks.subject import Asked, Tell
from zoo.checkpoints import labels_of, read_config
from zoo.classify import predict
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, each_text
from zoo.lengths import Lengths
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import RANKING, Task, find_task

HEAD = {"finetuning_task": RANKING.name}


class Queries(Rows[QueryExample]):
    """Queries whose passages are to be sorted."""

    @classmethod
    def task_of(cls, entry: str, config: Mapping[str, Any], asked: Asked) -> Task:
        task = find_task(asked.task or RANKING.name)
        if asked.labels or task.type is not RANKING:
            raise UserError(f"{entry} ranks passages: leave --labels out, and name --task ranking.")
        if len(labels_of(dict(config))) != 1:
            raise UserError(
                f"{entry} has {len(labels_of(dict(config)))} outputs, ranking needs one. Take another model."
            )
        return task

    def rows_of(self, source: str, split: str, intake: Intake) -> list[QueryExample]:
        return load_queries(self.task.hub if source == OWN else source, self.task.split(split), intake)

    def windows(self, tokenizer: Tokenizer, examples: Sequence[QueryExample]) -> list[Window]:
        return list(self._each_window(tokenizer, examples))

    def _each_window(self, tokenizer: Tokenizer, examples: Sequence[QueryExample]) -> Iterator[Window]:
        firsts, seconds = _columns(examples)
        return each_text(tokenizer, firsts, seconds, self.reading.max_length)

    def samples(self, tokenizer: Tokenizer, examples: Sequence[QueryExample]) -> list[Sample]:
        """Each query with each of its passages; to be told apart are relevant ones, by 1, and others, by 0."""
        if not examples:
            raise UserError("There are no queries to learn from. Take other data.")
        labels = [float(i in e.gains) for e in examples for i in range(len(e.passages))]
        if len(set(labels)) < 2:
            raise UserError("All passages to learn from are relevant: give some that are not, too.")
        keys = [f"{e.id}@{i}" for e in examples for i in range(len(e.passages))]
        return [
            Sample(window, label=label, key=key)
            for window, label, key in zip(self._each_window(tokenizer, examples), labels, keys, strict=True)
        ]

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Loss:
        return plain(self.loss_of)

    def loss_of(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits[:, 0].float(), batch["label"].float())

    def load_model(
        self, folder: Path | str, dropout: float = 0.0, new_head: bool = True, **overrides: Any
    ) -> LengthAdaptiveModel:
        config = read_config(folder)
        if self.has_head(config):
            return LengthAdaptiveModel.load(folder, None, dropout, **{**HEAD, **overrides})
        if replaced := replace_head(config, self.task.title, new_head):
            self.remark(replaced)
        settings = {"id2label": {"0": "score"}, "label2id": {"score": 0}, **HEAD}
        model = LengthAdaptiveModel.load(folder, RANKING, dropout, **{**settings, **overrides})
        model.last.reset_parameters()
        return model

    def stated(self, folder: Path | str, config: dict[str, Any]) -> dict[str, Any]:
        return HEAD

    def load_teacher(self, folder: Path | str, labels: Sequence[str] | None = None) -> LengthAdaptiveModel:
        return self.load_model(folder, new_head=False)

    def score(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        examples: Sequence[QueryExample],
        config: Lengths | None = None,
        progress: Tell | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        if not examples:
            raise UserError("There are no queries to evaluate on. Take other data.")
        firsts, seconds = _columns(examples)
        logits = predict(engine, tokenizer, firsts, seconds, config, self.reading.max_length, progress)
        ends = np.cumsum([len(e.passages) for e in examples])[:-1]
        return ranking_scores(self.task.metrics, np.split(logits[:, 0], ends), [gains_of(e) for e in examples])

    def passages(self, examples: Sequence[QueryExample]) -> list[Example]:
        return relevant_passages(examples)


def _columns(examples: Sequence[QueryExample]) -> tuple[list[str], list[str]]:
    """Each query as often as it has passages, and the passages."""
    return [e.query for e in examples for _ in e.passages], [passage for e in examples for passage in e.passages]
