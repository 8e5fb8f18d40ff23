"""Pairs of texts and how alike they are (STS-B): how they are read, learned and scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.data import texts
from compress.data.examples import Example, TextExample
from compress.data.intake import Intake
from compress.data.names import OWN
from compress.data.pairs import load_pairs
from compress.tasks.metrics import task_scores
from compress.tasks.samples import Sample
from compress.tasks.vectors import Embed, Vectors
from zoo.embed import cosine_of_pairs
from zoo.errors import UserError
from zoo.features import Tokenizer, each_text


class Pairs(Vectors[TextExample]):
    """Pairs of texts and how alike they are."""

    def rows_of(self, source: str, split: str, intake: Intake) -> list[TextExample]:
        return load_pairs(self.task, None if source == OWN else source, self.task.split(split), intake)

    def parts_of(self, example: TextExample) -> list[str]:
        return [example.first, *([] if example.second is None else [example.second])]

    def samples(self, tokenizer: Tokenizer, examples: Sequence[TextExample]) -> list[Sample]:
        pairs = [e for e in examples if e.second is not None]
        if not pairs:
            raise UserError(
                "The training data hold texts by themselves, from which likeness cannot be learned: give pairs, or set "
                "finetune.apply to false and train length_drop alone."
            )
        labels = [float(e.label) for e in pairs if isinstance(e.label, int | float)]
        if labels and len(labels) < len(pairs):
            raise UserError(
                f"{len(pairs) - len(labels)} of {len(pairs)} pairs to learn from have no label: give each one, or none."
            )
        most = max([1.0, *map(abs, labels)])  # a scale to 5, or to 100, becomes one to 1
        goals = [label / most for label in labels] or [None] * len(pairs)
        firsts, seconds = (each_text(tokenizer, part, None, self.reading.max_length) for part in _columns(pairs))
        return [
            Sample(first, label=goal, key=e.id, second=second)
            for first, second, goal, e in zip(firsts, seconds, goals, pairs, strict=True)
        ]

    def score_by(self, embed: Embed, examples: Sequence[TextExample]) -> dict[str, float]:
        if not examples:
            raise UserError("There are no pairs to evaluate on. Take other data.")
        lacking = [e.id for e in examples if e.second is None or e.label is None]
        if lacking:
            raise UserError(
                f"{len(lacking)} of the {len(examples)} texts to evaluate on are no pairs with a label, first "
                f"{lacking[0]!r}: give each a second text and how alike the two are."
            )
        texts_in_all = self.texts_of(examples)
        vectors = embed(texts_in_all)
        place = {text: i for i, text in enumerate(texts_in_all)}
        firsts, seconds = ([place[text] for text in part] for part in _columns(examples))
        likeness = cosine_of_pairs(vectors[firsts], vectors[seconds])
        return task_scores(self.task, likeness, np.array([e.label for e in examples], np.float64))

    def passages(self, examples: Sequence[TextExample]) -> list[Example]:
        return texts.passages(examples)


def _columns(pairs: Sequence[TextExample]) -> tuple[list[str], list[str]]:
    return [e.first for e in pairs], [e.second or "" for e in pairs]
