"""The search for length configurations: evolutionary, on two objectives, resumable.

The moves are those of the Length-Adaptive Transformer (Kim and Cho, arXiv 2010.07003): starting genes of a constant
ratio, a mutation that redraws a layer between its neighbours, a crossover that averages two genes. Survival is that of
NSGA-II (pymoo). Genes are fractions on a grid of 1/64, so that they mean the same at every input length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from compress.int8 import quantize as quantize_onnx
from compress.recipe.stage import trained_in
from compress.tasks.fanout import scoring
from compress.tasks.judge import Judge
from compress.tasks.lengths import drop_layers_of
from compress.tasks.subjects import subject_of, trained_on
from zoo import catalog
from zoo.checkpoints import normalized
from zoo.errors import UserError
from zoo.files import Archive, read_json, write_json
from zoo.lengths import Front, LengthConfig, Point

GRID = 64
ATTEMPTS = 50  # at finding new genes, a generation and move: a small space runs out of them

Gene = tuple[int, ...]
Measure = Callable[[LengthConfig], dict[str, float]]


@dataclass(frozen=True)
class Space:
    """Which genes there are: 64ths of the tokens for each layer, falling at the drop layers alone.

    `lowest` is the share that each drop layer drops in the cheapest starting gene.
    """

    layers: int
    drop_layers: tuple[int, ...]
    lowest: tuple[float, ...]

    def repair(self, gene: Sequence[int]) -> Gene:
        """The gene with every drop layer within its bounds and the other layers keeping what they get."""
        made, now = [], GRID
        for layer, value in enumerate(gene):
            if layer in self.drop_layers:
                now = int(min(max(1, value), now))
            made.append(now)
        return tuple(made)

    def constant(self, strength: float) -> Gene:
        """Every drop layer drops `strength` of its lowest share: 0 is full length, 1 the cheapest start."""
        drops = dict(zip(self.drop_layers, self.lowest, strict=True))
        kept = np.cumprod([1 - strength * drops.get(layer, 0.0) for layer in range(self.layers)])
        return self.repair([round(GRID * k) for k in kept])

    def accepts(self, gene: Gene) -> bool:
        """Whether it keeps as many tokens in all as the cheapest start: what is below wastes the search on ruins."""
        return sum(gene) >= sum(self.constant(1.0))

    def starting(self, count: int) -> list[Gene]:
        """Genes from full length to the cheapest start, evenly spaced; fewer where the grid is too coarse."""
        return list(dict.fromkeys(self.constant(strength) for strength in np.linspace(0, 1, count)))


@dataclass(frozen=True)
class Found:
    """A measured configuration; both objectives and all that was measured with them."""

    config: LengthConfig
    cost: float
    score: float
    measured: dict[str, Any] = field(default_factory=dict)


def config_of(gene: Sequence[int]) -> LengthConfig:
    return LengthConfig(tuple(int(value) / GRID for value in gene))


def frontier(found: Sequence[Found]) -> list[Found]:
    """Those for which no other is at most as costly and at least as good, cheapest first."""
    best: list[Found] = []
    for one in sorted(found, key=lambda f: (f.cost, -f.score)):
        if not best or one.score > best[-1].score:
            best.append(one)
    return best


class _Genes(Problem):
    def __init__(self, space: Space):
        super().__init__(n_var=space.layers, n_obj=2, xl=1, xu=GRID, vtype=int)
        self.space = space


class _Start(Sampling):
    def _do(self, problem, n_samples, *args, random_state=None, **kwargs):
        return np.array(problem.space.starting(n_samples))


class _Mend(Repair):
    def _do(self, problem, X, **kwargs):
        return np.array([problem.space.repair(gene) for gene in X])


class _Redraw(Mutation):
    """A drop layer becomes, with a probability, anything between the next one and the (redrawn) one before."""

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def _do(self, problem, X, *args, random_state: Any = None, **kwargs):
        drops, made = problem.space.drop_layers, X.copy()
        for row in made:
            before = GRID
            for layer, following in zip(drops, (*drops[1:], None), strict=True):
                after = 1 if following is None else row[following]
                if random_state.random() < self.probability:
                    row[layer] = random_state.integers(min(after, before), before, endpoint=True)
                before = row[layer]
        return made


class _Average(Crossover):
    """The mean of two genes, rounded up."""

    def __init__(self):
        super().__init__(n_parents=2, n_offsprings=1, prob=1.0)

    def _do(self, problem, X, *args, **kwargs):
        return (X[:1] + X[1:] + 1) // 2


def evolve(
    measure: Measure,
    space: Space,
    settings: Any,
    archive: Archive,
    progress: Any,
    spread: Any = map,
    metric: str = "f1",
    known: Sequence[LengthConfig] = (),
) -> list[Found]:
    """Searches for configurations that are cheap and good.

    Interrupted, it goes on where it was: the moves are replayed from the seed, and what is in the archive is not
    measured again. So the same seed and measurements give the same result, interrupted or not.

    Args:
        measure: gives `cost` and the metric of a configuration, and anything else worth keeping.
        space: where to search.
        settings: a recipe's `search` group.
        archive: measurements so far.
        progress: `compress.progress.Progress`.
        spread: measures the new configurations of a generation, results in their order; see `compress.tasks.fanout`.
        metric: what is to be high, a key of `zoo.metrics`.
        known: to start from beside the space's own starts; on its grid they may become slightly others.

    Returns:
        All that was measured, in the order of the search; full length comes first.
    """
    problem, chance = _Genes(space), np.random.default_rng(settings.seed)
    mend, survival = _Mend(), RankAndCrowding()
    moves = ((_Redraw(settings.mutation_prob), settings.mutations), (_Average(), settings.crossovers))
    lines = _Start().do(problem, settings.population, random_state=chance).get("X")
    others = (space.repair([round(GRID * kept) for kept in config.fractions]) for config in known)
    first = list(dict.fromkeys([*(tuple(int(value) for value in row) for row in lines), *others]))
    planned = len(first) + settings.iterations * (settings.mutations + settings.crossovers)
    seen: dict[Gene, Found] = {}

    def score(genes: Sequence[Gene], generation: int) -> Any:
        names = {gene: ",".join(map(str, gene)) for gene in genes}
        results = iter(spread(measure, [config_of(gene) for gene in names if archive.get(names[gene]) is None]))
        for gene in genes:
            result = archive.get(names[gene])
            if result is None:
                result = next(results)
                archive.add(names[gene], result)
            seen[gene] = Found(config_of(gene), result["cost"], result[metric], result)
            front = [(one.cost, one.score) for one in frontier(list(seen.values()))]
            best = {f"best_{metric}": front[-1][1]}
            progress.update(len(seen), planned, generation=generation, **best, front=front)
        objectives = [(seen[gene].cost, -seen[gene].score) for gene in genes]
        return Population.new("X", np.array(genes), "F", np.array(objectives))

    def offspring(alive: Any) -> list[Gene]:
        fresh: dict[Gene, None] = {}
        for move, count in moves:
            goal = len(fresh) + count
            for _ in range(ATTEMPTS):
                if len(fresh) >= goal:
                    break
                parents = chance.integers(len(alive), size=(goal - len(fresh), 2))
                if isinstance(move, _Average):
                    young = move.do(problem, alive, parents=parents, random_state=chance)
                else:
                    young = move.do(problem, Population.new("X", alive[parents[:, 0]].get("X")), random_state=chance)
                for row in mend.do(problem, young).get("X"):
                    gene = tuple(int(value) for value in row)
                    if gene not in seen and space.accepts(gene):
                        fresh.setdefault(gene)
        return list(fresh)

    alive = score(first, 0)
    for generation in range(1, settings.iterations + 1):
        young = offspring(alive)
        if not young:
            progress.note("no configuration is left to try")
            break
        everyone = Population.merge(alive, score(young, generation))
        alive = survival.do(problem, everyone, n_survive=settings.population, random_state=chance)
    progress.update(len(seen), len(seen), front=[(one.cost, one.score) for one in frontier(list(seen.values()))])
    return list(seen.values())


def thinned(found: Sequence[Found], count: int) -> list[Found]:
    """At most `count` of a frontier: its ends, and between them those nearest to even steps of cost."""
    if len(found) <= count:
        return list(found)
    steps = np.linspace(found[0].cost, found[-1].cost, count)
    costs = np.array([one.cost for one in found])
    picked = {0, len(found) - 1}
    for step in steps[1:-1]:
        free = [i for i in range(len(found)) if i not in picked]
        picked.add(min(free, key=lambda i: abs(costs[i] - step)))
    return [found[i] for i in sorted(picked)]


def filled(front: Sequence[Found], found: Sequence[Found], count: int) -> list[Found]:
    """A frontier of fewer than `count` with the best of what was found in the middle of its widest gaps.

    Scores on a few hundred examples are off by a point, so what is dominated here may not be where it is reported.

    Args:
        front: cheapest first.
        found: all that was measured, full length first, which no gap is filled with.
        count: how many are wanted.
    """
    chosen, rest = list(front), [one for one in found[1:] if one not in front]
    while len(chosen) < count and rest:
        costs = sorted({one.cost for one in (*chosen, found[0])})
        for low, high in sorted(pairwise(costs), key=lambda gap: gap[0] - gap[1]):
            edge = (high - low) / 4
            inside = [one for one in rest if low + edge <= one.cost <= high - edge]
            if inside:
                chosen.append(max(inside, key=lambda one: one.score))
                rest.remove(chosen[-1])
                break
        else:
            break
    return sorted(chosen, key=lambda one: one.cost)


def run(ctx: Any) -> dict[str, Any]:
    """Stage `search`: a length-adaptive checkpoint -> `front.json`, searched on a quantized draft of it.

    Raises:
        UserError: the examples to search on are also trained or reported on.
    """
    settings, checkpoint, subject = ctx.recipe.search, trained_in(ctx)[0], subject_of(ctx.recipe)
    examples = subject.load("validation", settings.max_questions, settings.seed)
    what = f"the {subject.noun} to search on"
    subject.refuse_overlap(trained_on(ctx), examples, what)
    subject.refuse_overlap(subject.fingerprints(subject.load("evaluation")), examples, what, "are reported on")

    space = space_of(ctx.recipe, checkpoint)
    known = known_of(settings.start, space.layers)
    draft = ctx.folder / "draft"
    if not (draft / "built.json").is_file():
        starts = [config_of(gene) for gene in space.starting(settings.population)]
        write_json(draft / "built.json", quantize_onnx.build(checkpoint, draft, ctx.recipe, starts))
    judge = Judge(draft, ctx.recipe, examples)

    def measure(config: LengthConfig, scores: dict[str, float] | None = None) -> dict[str, float]:
        result = scores or judge.score(config)
        if settings.objective == "latency":
            result["relative_latency"] = judge.relative_latency(config)
        return {"cost": result.get("relative_latency", result["macs_ratio"]), **result}

    archive = Archive(ctx.folder / "archive.jsonl")
    with scoring(draft, ctx.recipe, examples) as spread:
        found = evolve(measure, space, settings, archive, ctx.progress, spread, subject.primary, known)
    best = filled(thinned(frontier(found), settings.points), found, settings.points)
    points = {
        id(one): Point(one.config, one.measured["macs_ratio"], {key: one.measured[key] for key in subject.task.metrics})
        for one in found
    }
    front = Front(
        full=points[id(found[0])],
        points=sorted((points[id(one)] for one in best), key=lambda p: p.macs_ratio),
        dominated=[points[id(one)] for one in found if one not in best],
        measured_on={
            "task": subject.task.name,
            "split": "validation",
            "n": len(examples),
            "objective": settings.objective,
            "seed": settings.seed,
        },
    )
    front.save(ctx.folder / "front.json")
    return {"measured": len(found), "points": len(best), f"best_{subject.primary}": max(one.score for one in found)}


def known_of(start: str | None, layers: int) -> list[LengthConfig]:
    """The configurations of an entry's front, for a search to start from; none where no entry is named.

    Raises:
        UserError: there is no such entry, it has no front, or it has another number of layers.
    """
    if start is None:
        return []
    front = catalog.find(start).front
    if front is None or len(front.full.config.fractions) != layers:
        has = "no front" if front is None else f"{len(front.full.config.fractions)} layers"
        raise UserError(f"search.start: {start} has {has}. Name a searched entry with {layers} layers, or null.")
    return [point.config for point in front.points]


def space_of(recipe: Any, checkpoint: Path) -> Space:
    """What the recipe lets the search vary of a checkpoint.

    Raises:
        UserError: `lower_ratio` has another number of values than there are drop layers.
    """
    config = read_json(checkpoint / "config.json")
    drops = tuple(drop_layers_of(config))
    lowest = recipe.search.lower_ratio
    lowest = recipe.length_drop.length_drop_ratio_bound if lowest is None else lowest
    each = tuple(lowest) if isinstance(lowest, list) else (lowest,) * len(drops)
    if len(each) != len(drops):
        raise UserError(f"search.lower_ratio has {len(each)} numbers for {len(drops)} drop layers. Give one for each.")
    return Space(normalized(config)["num_hidden_layers"], drops, each)
