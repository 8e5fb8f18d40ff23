"""Queries that look for their passage among all passages, by embeddings: how they are learned and scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.data.examples import Example, QueryExample
from compress.data.intake import Intake
from compress.data.names import OWN
from compress.data.queries import in_one_corpus, load_queries
from compress.tasks.metrics import ranking_scores
from compress.tasks.samples import Sample
from compress.tasks.vectors import Embed, Vectors
from zoo.embed import cosine
from zoo.errors import UserError
from zoo.features import Tokenizer, each_text


class Searches(Vectors[QueryExample]):
    """Queries that look for their passage among all passages of their data."""

    def rows_of(self, source: str, split: str, intake: Intake) -> list[QueryExample]:
        source = self.task.hub if source == OWN else source
        return in_one_corpus(load_queries(source, self.task.split(split), intake))

    def parts_of(self, example: QueryExample) -> list[str]:
        return [example.query, *example.passages]

    def texts_of(self, examples: Sequence[QueryExample]) -> list[str]:
        corpora = {id(e.passages): e.passages for e in examples}  # one, as a rule
        texts = [text for passages in corpora.values() for text in passages]
        return list(dict.fromkeys([*texts, *(e.query for e in examples)]))

    def samples(self, tokenizer: Tokenizer, examples: Sequence[QueryExample]) -> list[Sample]:
        """Each query with a relevant passage, as pairs that belong together."""
        pairs = [(f"{e.id}@{place}", e.query, e.passages[place]) for e in examples for place in e.gains]
        if not pairs:
            raise UserError("There are no queries with a relevant passage to learn from. Take other data.")
        firsts, seconds = (
            each_text(tokenizer, [pair[side] for pair in pairs], None, self.reading.max_length) for side in (1, 2)
        )
        return [
            Sample(first, key=pair[0], second=second)
            for first, second, pair in zip(firsts, seconds, pairs, strict=True)
        ]

    def score_by(self, embed: Embed, examples: Sequence[QueryExample]) -> dict[str, float]:
        if not examples:
            raise UserError("There are no queries to evaluate on. Take other data.")
        texts = self.texts_of(examples)
        vectors = embed(texts)
        place = {text: i for i, text in enumerate(texts)}
        scores, gains = list[np.ndarray](), list[np.ndarray]()
        for one in examples:
            passages = vectors[[place[text] for text in one.passages]]
            scores.append(cosine(vectors[[place[one.query]]], passages)[0])
            gains.append(gains_of(one))
        return ranking_scores(self.task.metrics, scores, gains)

    def passages(self, examples: Sequence[QueryExample]) -> list[Example]:
        return relevant_passages(examples)

    def remarks(self, n: int) -> dict[str, str]:
        return {**super().remarks(n), "remark": self.task.remark}


def gains_of(example: QueryExample) -> np.ndarray:
    """How relevant each of the passages is, `[passages]`."""
    gains = np.zeros(len(example.passages))
    gains[list(example.gains)] = list(example.gains.values())
    return gains


def relevant_passages(examples: Sequence[QueryExample]) -> list[Example]:
    """The relevant passages, by which it is told what a model has seen."""
    return [Example(e.id, e.query, e.passages[place]) for e in examples for place in e.gains]
