"""What all tasks have in common whose models give a vector of a text: how it is loaded, learned and taught."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from compress.tasks.losses import plain
from compress.tasks.rows import Rows
from compress.tasks.samples import SECOND, Loss, Sample
from compress.tasks.subject import Asked, Tell
from zoo.checkpoints import most_tokens, read_config
from zoo.classify import predict
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, each_text, make_texts
from zoo.lengths import Lengths
from zoo.modeling import LengthAdaptiveModel
from zoo.pooling import KEY, Pooling
from zoo.tasks import EMBEDDINGS, Task, find_task

log = logging.getLogger(__name__)

SHARPNESS = 20.0  # that cosines are multiplied by, where the right one of a batch is to be told
E = TypeVar("E")  # an example
Embed = Callable[[list[str]], np.ndarray]  # a vector of each text


class Vectors(Rows[E]):
    """A task whose model gives a vector of each text."""

    learns_alone = True

    @classmethod
    def task_of(cls, entry: str, config: Mapping[str, Any], asked: Asked) -> Task:
        task = find_task(asked.task or EMBEDDINGS.name)
        if asked.labels or task.type is not EMBEDDINGS:
            raise UserError(f"{entry} gives embeddings: leave --labels out, and name --task embeddings or search.")
        return task

    @classmethod
    def longest(cls, task: Task, settings: Mapping[str, Any]) -> int:
        return most_tokens(settings, Pooling.of(settings).max_length)

    def texts_of(self, examples: Sequence[E]) -> list[str]:
        """All texts of the examples, each once."""
        return list(dict.fromkeys(text for one in examples for text in self.parts_of(one)))

    @abstractmethod
    def parts_of(self, example: E) -> list[str]:
        """The texts of an example that each get a vector."""

    def windows(self, tokenizer: Tokenizer, examples: Sequence[E]) -> list[Window]:
        return make_texts(tokenizer, self.texts_of(examples), None, self.reading.max_length)

    def score(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        examples: Sequence[E],
        config: Lengths | None = None,
        progress: Tell | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        return self.score_by(
            lambda texts: predict(engine, tokenizer, texts, None, config, self.reading.max_length, progress), examples
        )

    @abstractmethod
    def score_by(self, embed: Embed, examples: Sequence[E]) -> dict[str, float]:
        """As `score`, whatever it is that gives the vectors."""

    def unlabelled(self, tokenizer: Tokenizer, examples: Sequence[E]) -> list[Sample]:
        """Windows to learn from without labels: all texts of the examples, each by itself.

        Raises:
            UserError: there are none.
        """
        texts = self.texts_of(examples)
        if not texts:
            raise UserError("There are no texts to learn from. Take other data.")
        windows = each_text(tokenizer, texts, None, self.reading.max_length)
        return [Sample(window, key=f"text-{i}") for i, window in enumerate(windows)]

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Loss:
        return plain(self.loss_of)

    def loss_of(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        if f"{SECOND}input_ids" not in batch:  # nothing but itself, or a teacher, says what a text's vector should be
            return logits.float().sum() * 0
        return pair_loss(logits, batch.get("label"))

    def stated(self, folder: Path | str, config: dict[str, Any]) -> dict[str, Any]:
        return {KEY: Pooling.of(config).to_dict()}

    def load_model(
        self, folder: Path | str, dropout: float = 0.0, new_head: bool = True, **overrides: Any
    ) -> LengthAdaptiveModel:
        config = read_config(folder)
        fits = self.has_head(config)
        if not fits:
            kind = (config.get("architectures") or ["a model without a name"])[0]
            if not new_head:
                raise UserError(
                    f"The checkpoint ({kind}) is not for embeddings, and nothing is trained here that could make it "
                    "so: take an embedding model, or a recipe that trains."
                )
            log.warning("The checkpoint (%s) is not for embeddings: its encoder is trained for them.", kind)
        pooling = Pooling.of(config).to_dict()
        return LengthAdaptiveModel.load(folder, None if fits else EMBEDDINGS, dropout, **{KEY: pooling, **overrides})


def pair_loss(vectors: Tensor, label: Tensor | None) -> Tensor:
    """What pairs teach.

    Args:
        vectors: `[2 pairs, hidden]`, the second texts below the first ones.
        label: cosine that each pair should have; None for pairs that belong together, each of whose texts is to be
            nearer to the other than to any other second text of the batch.

    Returns:
        Squared distance of the cosines, or cross-entropy over the batch.
    """
    first, second = F.normalize(vectors.float(), dim=1).chunk(2)
    if label is not None:
        return F.mse_loss((first * second).sum(1), label.float())
    likeness = SHARPNESS * first @ second.T
    return F.cross_entropy(likeness, torch.arange(len(likeness), device=likeness.device))
