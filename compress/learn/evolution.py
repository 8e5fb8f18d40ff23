"""An evolutionary search for length configurations, on two objectives, resumable.

The moves are those of the Length-Adaptive Transformer (Kim and Cho, arXiv 2010.07003): starting genes of a constant
ratio, a mutation that redraws a layer between its neighbours, a crossover that averages two genes. Survival is that of
NSGA-II (pymoo). Genes are fractions on a grid of 1/64, so that they mean the same at every input length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from compress.progress import Progress
from compress.recipe.length_groups import Search
from compress.tasks.fanout import Spread
from zoo.files import Archive
from zoo.lengths import LengthConfig

GRID = 64
ATTEMPTS = 50  # at finding new genes, a generation and move: a small space runs out of them

Gene = tuple[int, ...]
Rows = npt.NDArray[np.int64]  # genes, one a row
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
        mended: list[int] = []
        now = GRID
        for layer, value in enumerate(gene):
            if layer in self.drop_layers:
                now = int(min(max(1, value), now))
            mended.append(now)
        return tuple(mended)

    def constant(self, strength: float) -> Gene:
        """Every drop layer drops `strength` of its lowest share: 0 is full length, 1 the cheapest start."""
        drops = dict(zip(self.drop_layers, self.lowest, strict=True))
        shares = np.cumprod([1 - strength * drops.get(layer, 0.0) for layer in range(self.layers)])
        return self.repair([round(GRID * share) for share in shares])

    def accepts(self, gene: Gene) -> bool:
        """Whether it keeps as many tokens in all as the cheapest start: what is below wastes the search on ruins."""
        return sum(gene) >= sum(self.constant(1.0))

    def starting(self, count: int) -> list[Gene]:
        """Genes from full length to the cheapest start, evenly spaced; fewer where the grid is too coarse."""
        return list(dict.fromkeys(self.constant(strength) for strength in np.linspace(0, 1, count)))


@dataclass(frozen=True)
class Candidate:
    """A measured configuration: both objectives, and all that was measured with them."""

    config: LengthConfig
    cost: float
    score: float
    measured: dict[str, float] = field(default_factory=dict[str, float])


def config_of(gene: Sequence[int]) -> LengthConfig:
    return LengthConfig(tuple(int(value) / GRID for value in gene))


def frontier(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those for which no other is at most as costly and at least as good, cheapest first."""
    best: list[Candidate] = []
    for one in sorted(candidates, key=lambda f: (f.cost, -f.score)):
        if not best or one.score > best[-1].score:
            best.append(one)
    return best


class Genes(Problem):
    """What pymoo's operators are told of a space."""

    def __init__(self, space: Space):
        super().__init__(n_var=space.layers, n_obj=2, xl=1, xu=GRID, vtype=int)
        self.space = space


class Mend(Repair):
    """Brings genes into the space."""

    def _do(self, problem: Genes, X: Rows, **kwargs: object) -> Rows:
        return np.array([problem.space.repair(gene) for gene in X])


class Redraw(Mutation):
    """A drop layer becomes, with a probability, anything between the next one and the (redrawn) one before."""

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def _do(self, problem: Genes, X: Rows, *args: object, random_state: Any = None, **kwargs: object) -> Rows:
        drops, redrawn = problem.space.drop_layers, X.copy()
        for row in redrawn:
            before = GRID
            for layer, following in zip(drops, (*drops[1:], None), strict=True):
                after = 1 if following is None else row[following]
                if random_state.random() < self.probability:
                    row[layer] = random_state.integers(min(after, before), before, endpoint=True)
                before = row[layer]
        return redrawn


class Mean(Crossover):
    """The mean of two genes, rounded up."""

    def __init__(self):
        super().__init__(n_parents=2, n_offsprings=1, prob=1.0)

    def _do(self, problem: Genes, X: Rows, *args: object, **kwargs: object) -> Any:
        return (X[:1] + X[1:] + 1) // 2


@dataclass
class Evolution:
    """A search for configurations that are cheap and good.

    Interrupted, it goes on where it was: the moves are replayed from the seed, and what is in the archive is not
    measured again. So the same seed and measurements give the same result, interrupted or not.

    Attributes:
        measure: gives `cost` and the metric of a configuration, and anything else worth keeping.
        space: where to search.
        settings: a recipe's `search` group.
        archive: measurements so far.
        progress: hears of every configuration.
        spread: measures the new configurations of a generation, results in their order; see `compress.tasks.fanout`.
        metric: what is to be high, a key of `zoo.metrics`.
        candidates: all that was measured, by gene, in the order of the search.
    """

    measure: Measure
    space: Space
    settings: Search
    archive: Archive
    progress: Progress
    spread: Spread = map
    metric: str = "f1"
    candidates: dict[Gene, Candidate] = field(default_factory=dict[Gene, Candidate])

    def __post_init__(self) -> None:
        self.problem, self.chance = Genes(self.space), np.random.default_rng(self.settings.seed)
        self.mend, self.survival = Mend(), RankAndCrowding()
        redraw = Redraw(self.settings.mutation_prob)
        self.moves = ((redraw, self.settings.mutations), (Mean(), self.settings.crossovers))
        self.planned = 0

    def run(self, starts: Sequence[LengthConfig] = ()) -> list[Candidate]:
        """Searches as long as the settings say, or until no configuration is left to try.

        Args:
            starts: to start from beside the space's own starts; on its grid they may become slightly others.

        Returns:
            All that was measured, in the order of the search; full length comes first.
        """
        settings = self.settings
        others = (self.space.repair([round(GRID * share) for share in config.fractions]) for config in starts)
        first = list(dict.fromkeys([*self.space.starting(settings.population), *others]))
        self.planned = len(first) + settings.iterations * (settings.mutations + settings.crossovers)
        alive = self.score(first, 0)
        for number in range(1, settings.iterations + 1):
            survivors = self.generation(alive, number)
            if survivors is None:
                self.progress.note("no configuration is left to try")
                break
            alive = survivors
        self.progress.update(len(self.candidates), len(self.candidates), front=self.front())
        return list(self.candidates.values())

    def generation(self, alive: Population, number: int) -> Population | None:
        """The survivors of a population and its offspring; None where there is no new gene."""
        young = self.offspring(alive)
        if not young:
            return None
        everyone = Population.merge(alive, self.score(young, number))
        return self.survival.do(self.problem, everyone, n_survive=self.settings.population, random_state=self.chance)

    def front(self) -> list[tuple[float, float]]:
        """Cost and score of the best so far, cheapest first."""
        return [(one.cost, one.score) for one in frontier(list(self.candidates.values()))]

    def score(self, genes: Sequence[Gene], generation: int) -> Population:
        """The genes with their objectives, measured where the archive lacks them."""
        names = {gene: ",".join(map(str, gene)) for gene in genes}
        fresh = [config_of(gene) for gene, name in names.items() if self.archive.get(name) is None]
        results = iter(self.spread(self.measure, fresh))
        for gene in genes:
            result = self.archive.get(names[gene])
            if result is None:
                result = next(results)
                self.archive.add(names[gene], result)
            self.candidates[gene] = Candidate(config_of(gene), result["cost"], result[self.metric], result)
            front = self.front()
            best = {f"best_{self.metric}": front[-1][1]}
            self.progress.update(len(self.candidates), self.planned, generation=generation, **best, front=front)
        objectives = [(self.candidates[gene].cost, -self.candidates[gene].score) for gene in genes]
        return Population.new("X", np.array(genes), "F", np.array(objectives))

    def offspring(self, alive: Population) -> list[Gene]:
        """New genes of the space: mutations, then crossovers, as many as the settings ask for and can be found."""
        fresh: dict[Gene, None] = {}
        for move, count in self.moves:
            goal = len(fresh) + count
            for _ in range(ATTEMPTS):
                if len(fresh) >= goal:
                    break
                parents = self.chance.integers(len(alive), size=(goal - len(fresh), 2))
                if isinstance(move, Mean):
                    young = move.do(self.problem, alive, parents=parents, random_state=self.chance)
                else:
                    copies = Population.new("X", alive.get("X")[parents[:, 0]])
                    young = move.do(self.problem, copies, random_state=self.chance)
                for row in self.mend.do(self.problem, young).get("X"):
                    gene = tuple(int(value) for value in row)
                    if gene not in self.candidates and self.space.accepts(gene):
                        fresh.setdefault(gene)
        return list(fresh)


def thinned(front: Sequence[Candidate], count: int) -> list[Candidate]:
    """At most `count` of a frontier: its ends, and between them those nearest to even steps of cost."""
    if len(front) <= count:
        return list(front)
    costs = np.array([one.cost for one in front])
    picked = {0, len(front) - 1}
    for step in np.linspace(front[0].cost, front[-1].cost, count)[1:-1]:
        free = [i for i in range(len(front)) if i not in picked]
        picked.add(min(free, key=lambda i: abs(costs[i] - step)))
    return [front[i] for i in sorted(picked)]


def filled(front: Sequence[Candidate], candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """A frontier of fewer than `count` with the best candidates from the middle of its widest gaps.

    Scores on a few hundred examples are off by a point, so what is dominated here may not be where it is reported.

    Args:
        front: cheapest first.
        candidates: all that was measured, full length first, which no gap is filled with.
        count: how many there should be.
    """
    chosen, rest = list(front), [one for one in candidates[1:] if one not in front]
    while len(chosen) < count and rest:
        costs = sorted({one.cost for one in (*chosen, candidates[0])})
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
