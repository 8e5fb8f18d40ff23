"""Two-stage search (Bigger&Faster, after AutoTinyBERT, arXiv 2107.13686): first latency, then the task.

The predictor finds the encoders that take nearly all of the time there is, since larger ones are better as a rule.
Evolution then asks the task for the best of them. A child is drawn anew, or made from one of the best so far by a step
in depth or width, until it is within the limit and unseen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from compress.nas.base import base_of, leave_torchrun
from compress.nas.candidates import Candidates
from compress.nas.latency_table import time_arch
from compress.nas.predictor import Predictor
from compress.nas.space import Arch, Space
from compress.nas.table import stamp
from compress.progress import Progress
from compress.recipe.nas import NasRecipe
from compress.recipe.nas_groups import ArchSearch
from compress.recipe.stage import StageContext
from zoo.errors import UserError
from zoo.files import Archive, read_json, write_json

SEARCHED = "search.json"
ANCHORS = 5  # encoders that are measured before the search, so that predictions are of the machine as it is now
TOLERANCE = 0.05  # by which encoders may be slower or faster than the table, untold
ATTEMPTS = 200  # at making a child that is new and fast enough, before one is drawn at random
STEPS = {"layers": 1, "hidden": 1, "intermediate": 2}  # places of its list that a mutation moves a size by, at most

Score = Callable[[Arch], dict[str, float]]


@dataclass(frozen=True)
class Scored:
    """A scored candidate: predicted milliseconds, the task's primary metric, its generation, all its metrics."""

    arch: Arch
    predicted_ms: float
    score: float
    generation: int
    metrics: dict[str, float]


def anchors(predicted: Mapping[Arch, float]) -> list[Arch]:
    """Encoders from the fastest to the slowest, evenly spread by what they are predicted to take."""
    ranked = sorted(predicted, key=lambda arch: (predicted[arch], arch))
    places = {round(i * (len(ranked) - 1) / (ANCHORS - 1)) for i in range(ANCHORS)}
    return [ranked[place] for place in sorted(places)]


def fastest_enough(
    ranked: Sequence[Scored], limit: float, verify: int, milliseconds: Callable[[Arch], float]
) -> Scored:
    """The best candidate that, when it is measured, takes no more than the limit.

    Candidates are measured in the order given until one is within the limit and so many have been measured.

    Args:
        ranked: the best first.
        limit: in milliseconds.
        verify: how many are measured at least.
        milliseconds: measures one.

    Raises:
        UserError: none of them is within the limit; the message tells the fastest and what it takes.
    """
    measured: dict[Arch, float] = {}
    winner: Scored | None = None
    for one in ranked:
        if winner and len(measured) >= verify:
            break
        measured[one.arch] = milliseconds(one.arch)
        if winner is None and measured[one.arch] <= limit:
            winner = one
    if winner is None:
        fastest = min(measured, key=lambda arch: measured[arch])
        raise UserError(
            f"None of the {len(measured)} encoders that were scored takes {limit:.3g} ms or less when it is measured: "
            f"the fastest of them, {fastest}, takes {measured[fastest]:.3g} ms. Run the search again while nothing "
            "else keeps this machine busy, raise search.limit_ms or limit_share, or widen search.band downwards."
        )
    return winner


def limit_of(settings: ArchSearch, largest_ms: float) -> float:
    """The latency limit in milliseconds, by the predicted latency of the largest encoder where it is a share."""
    return settings.limit_ms if settings.limit_ms is not None else settings.limit_share * largest_ms


def within(predicted: Mapping[Arch, float], limit: float, band: Sequence[float]) -> dict[Arch, float]:
    """The encoders that take between two shares of the limit; where all are faster, of what the slowest takes.

    Args:
        predicted: milliseconds of every encoder.
        limit: in milliseconds.
        band: two shares.

    Raises:
        UserError: none is fast enough; the message tells the fastest and what it takes.
    """
    allowed = {arch: ms for arch, ms in predicted.items() if ms <= band[1] * limit}
    if not allowed:
        fastest = min(predicted, key=lambda arch: predicted[arch])
        raise UserError(
            f"Nothing in the search space takes {band[1] * limit:.3g} ms or less: the fastest encoder, {fastest}, "
            f"takes {predicted[fastest]:.3g} ms by the predictor. Raise the limit, or add smaller encoders."
        )
    slowest = max(allowed.values())
    reach = limit if slowest >= band[0] * limit else slowest
    return {arch: ms for arch, ms in allowed.items() if ms >= band[0] * reach}


@dataclass(frozen=True)
class Evolution:
    """Scores candidates, the later ones bred from the best of the earlier ones.

    Attributes:
        score: gives the metrics of an encoder.
        candidates: milliseconds of those that may be taken.
        space: whose neighbours a mutation goes to.
        settings: of a recipe.
        metric: the key to choose by.
        limit_ms: the latency limit, for the progress.
    """

    score: Score
    candidates: Mapping[Arch, float]
    space: Space
    settings: ArchSearch
    metric: str
    limit_ms: float | None = None

    def run(self, archive: Archive, progress: Progress) -> list[Scored]:
        """Searches. Interrupted, it goes on where it was: the draws are repeated from the seed, and what is in the
        archive is not scored again. So the same seed and scores give the same result, interrupted or not.

        Args:
            archive: scores so far.
            progress: hears of every candidate.

        Returns:
            All that was scored, in the order of the search.
        """
        settings, chance = self.settings, random.Random(self.settings.seed)
        everything = sorted(self.candidates)
        scored: dict[Arch, Scored] = {}
        rounds = settings.generations + 1
        planned = min(len(everything), settings.population + settings.generations * settings.children)
        batch = chance.sample(everything, min(settings.population, len(everything)))
        for generation in range(rounds):
            for arch in batch:
                scored[arch] = self._scored(arch, generation, archive)
                best = best_of(list(scored.values()))
                progress.update(
                    len(scored),
                    planned,
                    generation=generation,
                    **{f"best_{self.metric}": best.score},
                    best=best.arch.key,
                    limit_ms=self.limit_ms,
                    points=[[one.predicted_ms, one.score, one.generation, one.arch.key] for one in scored.values()],
                )
            if generation + 1 < rounds:
                batch = self.children(list(scored.values()), everything, chance)
                if not batch:
                    progress.note("every candidate has been scored")
                    break
        return list(scored.values())

    def _scored(self, arch: Arch, generation: int, archive: Archive) -> Scored:
        """A candidate with its metrics, out of the archive where they are there."""
        predicted, result = self.candidates[arch], archive.get(arch.key)
        if result is None:
            result = self.score(arch)
            archive.add(arch.key, {"predicted_ms": predicted, "generation": generation, **result})
        metrics = {key: value for key, value in result.items() if key not in ("predicted_ms", "generation")}
        return Scored(arch, predicted, metrics[self.metric], generation, metrics)

    def children(self, scored: Sequence[Scored], everything: Sequence[Arch], chance: random.Random) -> list[Arch]:
        """Candidates that were not scored yet: near one of the best so far, or drawn anew."""
        settings = self.settings
        parents = sorted(scored, key=lambda one: (-one.score, one.predicted_ms))[: settings.parents]
        lowest = min(one.score for one in parents)
        spread = max(one.score for one in parents) - lowest
        weights = [one.score - lowest + 1e-3 * spread + 1e-9 for one in parents]
        unseen = dict.fromkeys(sorted(set(everything) - {one.arch for one in scored}))
        young: list[Arch] = []
        while unseen and len(young) < settings.children:
            child: Arch | None = None
            if settings.strategy == "evolution" and chance.random() >= settings.fresh:
                parent = chance.choices(parents, weights)[0].arch
                for _ in range(ATTEMPTS):
                    other = mutate(parent, self.space, settings.mutation_prob, chance)
                    if other in unseen:
                        child = other
                        break
            child = child or chance.choice(list(unseen))
            del unseen[child]
            young.append(child)
        return young


def best_of(scored: Sequence[Scored]) -> Scored:
    """The best; of equals the fastest."""
    return max(scored, key=lambda one: (one.score, -one.predicted_ms))


def mutate(arch: Arch, space: Space, probability: float, chance: random.Random) -> Arch:
    """The encoder with a step in depth, with the probability, and steps in both widths, with twice of it."""
    for name, steps in STEPS.items():
        if chance.random() < min(1.0, probability * (1 if name == "layers" else 2)):
            near = space.moved(arch, name, steps)
            arch = chance.choice(near) if near else arch
    return arch


def run(ctx: StageContext[NasRecipe]) -> dict[str, Any]:
    """Stage `search`: the tuned supernet and the latency predictor -> `search.json`, with the winner.

    Raises:
        UserError: no encoder is fast enough, predicted or measured, the predictor is of another machine or space, or
            the data to search on are trained or reported on too.
    """
    leave_torchrun()
    settings, base = ctx.recipe.search, base_of(ctx)
    predictor = Predictor.load(ctx.inputs["predictor"])
    scorer, archive = Candidates(ctx, base), Archive(ctx.folder / "archive.jsonl")
    measured: dict[Arch, dict[str, float]] = {}

    def milliseconds(arch: Arch) -> float:
        row = archive.get(f"measured {arch.key}")
        if row is None:
            row = time_arch(arch, settings.mode, base.setup, ctx.recipe.latency_table)
            archive.add(f"measured {arch.key}", row)
        measured[arch] = row
        return row["p50_ms"]

    archs = list(base.space)
    times = predictor.predict(archs, settings.mode).tolist()
    table = dict(zip(archs, times, strict=True))
    pace = median(milliseconds(arch) / table[arch] for arch in anchors(table))
    if abs(pace - 1) > TOLERANCE:
        ctx.progress.note(
            f"encoders take {pace:.2f} times what the latency table says now: predictions are corrected by that"
        )
    if notice := predictor.notice(settings.mode):
        ctx.progress.note(notice)
    predicted = {arch: pace * ms for arch, ms in table.items()}
    limit = limit_of(settings, predicted[base.space.largest])
    candidates = within(predicted, limit, settings.band)
    evolution = Evolution(scorer.score, candidates, base.space, settings, scorer.primary, limit)
    scored = evolution.run(archive, ctx.progress)

    ranked = sorted(scored, key=lambda one: (-one.score, one.predicted_ms))
    chosen = fastest_enough(ranked, limit, settings.verify, milliseconds)
    milliseconds(base.space.largest)
    passed_over = ranked[: ranked.index(chosen)]
    if passed_over:
        ctx.progress.note(
            f"{len(passed_over)} better scored take more than {limit:.3g} ms when they are measured: passed over"
        )
    points = [
        {
            "key": one.arch.key,
            "arch": one.arch.to_json(),
            "predicted_ms": one.predicted_ms,
            **({"measured_ms": measured[one.arch]["p50_ms"]} if one.arch in measured else {}),
            "score": one.score,
            "generation": one.generation,
            "metrics": one.metrics,
        }
        for one in scored
    ]
    fastest, largest = min(predicted, key=lambda arch: predicted[arch]), base.space.largest
    winner = next(point for point in points if point["key"] == chosen.arch.key)
    result = {
        "limit_ms": limit,
        "pace": pace,
        "passed_over": [one.arch.key for one in passed_over],
        **({"notice": notice} if notice else {}),
        **{key: getattr(settings, key) for key in ("band", "mode", "approach", "scoring", "strategy", "seed")},
        "metric": scorer.primary,
        "n": len(scorer.examples),
        "candidates": len(candidates),
        "space": len(archs),
        "fastest": {"key": fastest.key, "predicted_ms": predicted[fastest]},
        "largest": {
            "key": largest.key,
            "predicted_ms": predicted[largest],
            "measured_ms": measured[largest]["p50_ms"],
        },
        "machine": stamp(),
        "setup": predictor.setup,
        "points": points,
        "winner": winner,
    }
    write_json(ctx.folder / SEARCHED, result)
    return {
        "winner": winner["key"],
        "score": winner["score"],
        "predicted_ms": winner["predicted_ms"],
        "measured_ms": winner["measured_ms"],
        "limit_ms": limit,
        "scored": len(scored),
        "candidates": len(candidates),
        **({"notice": notice} if notice else {}),
    }


def winner_of(folder: Path) -> tuple[Arch, dict[str, Any]]:
    """The encoder that a search has chosen, and all of its `search.json`.

    Raises:
        UserError: the folder holds no finished search.
    """
    result = read_json(folder / SEARCHED)
    return Arch.from_json(result["winner"]["arch"]), result
