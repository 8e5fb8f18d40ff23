"""Architecture search with int8 in the loop beside what one would do instead, from one finished run's supernet.

Everybody gets the same latency limit, the same predictor and the same number of scored candidates; the scaled encoders
need two. What each has chosen is then made in the same way, in int8, and scored on data that no search has seen.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from bench.report import Json, report
from compress.nas.base import base_of
from compress.nas.candidates import Candidates
from compress.nas.latency_table import time_row
from compress.nas.predictor import Predictor
from compress.nas.scoring import Scorer, finetune_candidate, inside
from compress.nas.search import Evolution, best_of, within
from compress.nas.space import Arch, Space
from compress.nas.supernet import SuperNet
from compress.progress import Progress
from compress.recipe.load import expanded, load
from compress.recipe.stage import StageContext
from compress.tasks.metrics import spearman
from compress.tasks.subjects import trained_on
from zoo.errors import UserError
from zoo.files import Archive, read_json
from zoo.latency import machine, running_job

log = logging.getLogger(__name__)

METHODS = {  # how candidates are scored, and how they are picked
    "ptq search": ("ptq", "evolution"),
    "fp search, then int8": ("fp", "evolution"),
    "random, ptq": ("ptq", "random"),
}
SCALED = ("fewer layers", "narrower layers")
NEEDED = ("supernet", "tune", "latency_table", "predictor")


app = typer.Typer()
DEFAULT_LIMITS = [0.35, 0.6]


@dataclass(frozen=True)
class Row:
    """What a way of choosing has chosen.

    Attributes:
        limit_ms, seed: of the search.
        key: the encoder.
        predicted_ms, measured_ms: its latency in int8.
        searched: its score on the data searched on, as the search saw it; None where nothing was searched.
        score: in int8 on data that no search has seen.
        scored: candidates that this took.
    """

    limit_ms: float
    method: str
    seed: int
    key: str
    predicted_ms: float
    measured_ms: float
    searched: float | None
    score: float
    scored: int


@dataclass(frozen=True)
class Agreement:
    """How the encoders of a sample rank inside the supernet and after a training of their own, both in int8."""

    keys: list[str]
    inside: list[float]
    finetuned: list[float]
    spearman: float


class Bench:
    """A finished run's supernet, predictor and data; what was computed before is kept in its folder `bench-nas`.

    Args:
        run: folder of a run of the kind `nas`, finished up to the stage `predictor`.
        final: "inside" scores a choice with the supernet's weights, "finetune" trains it as the recipe says.

    Raises:
        UserError: it is no such run.
    """

    def __init__(self, run: Path, final: str = "inside"):
        recipe: Any = expanded(load(run))
        finished = [(run / stage / "done.json").is_file() for stage in NEEDED]
        if recipe.kind != "nas" or not all(finished) or not (run / "tune" / "space.json").is_file():
            raise UserError(f"{run} is no run of the kind nas that has a supernet, a tuned one and a predictor.")
        # By the tuned supernet that scores belong to: another one's are others.
        self.folder = run / "bench-nas" / str(read_json(run / "tune" / "done.json")["inputs"])[:12]
        self.run, self.final = run, final
        self.recipe = recipe.model_copy(update={"search": recipe.search.model_copy(update={"scoring": "inside"})})
        self.progress = Progress(self.folder / "progress.jsonl", "bench")
        self.ctx = StageContext(
            recipe=self.recipe,
            root=run,
            folder=self.folder,
            inputs={path.parent.name: path.parent for path in run.glob("*/done.json")},
            progress=self.progress,
        )
        self.base = base_of(self.ctx)
        predictor = Predictor.load(run / "predictor")
        archs = list(self.base.space)
        times = predictor.predict(archs, self.recipe.search.mode).tolist()
        self.predicted = dict(zip(archs, times, strict=True))
        self.scores = Archive(self.folder / "scores.jsonl")
        self._judges: dict[tuple[str, int], Any] = {}

    @property
    def metric(self) -> str:
        """Key of the metric that decides."""
        return self._judge("ptq", 0).primary

    def rows(self, limits: Sequence[float], seeds: Sequence[int]) -> list[Row]:
        """Every way of choosing at every limit (a share of the largest encoder's latency) and seed."""
        rows = []
        # What cannot be compared is told before hours of searching.
        plain = {share: self._scaled(share * self.predicted[self.base.space.largest]) for share in limits}
        for share, made in plain.items():
            limit = share * self.predicted[self.base.space.largest]
            for seed in seeds:
                for method in METHODS:
                    rows.append(self._searched(method, limit, seed))
                    log.info("%s", rows[-1])
            rows += [self._row(limit, name, 0, arch, None, len(made)) for name, arch in made.items()]
        return rows

    def agreement(self, sample: int, seed: int = 0) -> Agreement:
        """Scores of encoders spread over the space, inside the tuned supernet and, as in the paper, each cut out of the
        one that was trained on text alone, and fine-tuned."""
        archs, judge = spread(self.predicted, sample), self._judge("ptq", seed)
        inside = [self._score(arch, "ptq", seed) for arch in archs]
        untuned = SuperNet.load(self.run / "supernet", self.base.space)
        trained = [self._trained(untuned, arch, judge.examples, f"untuned {seed}") for arch in archs]
        rho = float(spearman(_array(inside), _array(trained)))
        return Agreement([arch.key for arch in archs], inside, trained, rho)

    def _searched(self, method: str, limit: float, seed: int) -> Row:
        approach, strategy = METHODS[method]
        settings = self.recipe.search.model_copy(update={"seed": seed, "approach": approach, "strategy": strategy})
        candidates = within(self.predicted, limit, settings.band)
        judge = self._judge(approach, seed)
        here = self.folder / "searches" / f"{method} {limit:.6g} {seed}.jsonl".replace(",", "").replace(" ", "-")

        def score(arch: Arch) -> dict[str, float]:
            return {judge.primary: self._score(arch, approach, seed)}

        evolution = Evolution(score, candidates, self.base.space, settings, judge.primary)
        result = evolution.run(Archive(here), self.progress)
        best = best_of(result)
        return self._row(limit, method, seed, best.arch, best.score, len(result))

    def _scaled(self, limit: float) -> dict[str, Arch]:
        made = scaled(self.base.space, self.predicted, limit)
        if not made:
            fastest = min(self.predicted[arch] for kind in shapes(self.base.space) for arch in kind)
            share = fastest / self.predicted[self.base.space.largest]
            raise UserError(
                f"No encoder scaled in depth or width takes {limit:.3g} ms or less: the fastest takes {share:.3f} of "
                "what the largest does. Raise the limit."
            )
        return made

    def _row(self, limit: float, method: str, seed: int, arch: Arch, searched: float | None, scored: int) -> Row:
        return Row(
            limit,
            method,
            seed,
            arch.key,
            self.predicted[arch],
            self._measured(arch),
            searched,
            self.final_score(arch),
            scored,
        )

    def _judge(self, approach: str, seed: int) -> Any:
        if (approach, seed) not in self._judges:
            search = self.recipe.search.model_copy(update={"approach": approach, "seed": seed})
            ctx = replace(self.ctx, recipe=self.recipe.model_copy(update={"search": search}))
            judge = Candidates(ctx, self.base)
            if self._judges:  # they differ in their examples only
                judge.__dict__["net"] = next(iter(self._judges.values())).net
            self._judges[approach, seed] = judge
        return self._judges[approach, seed]

    def _once(self, key: str, make: Callable[[], dict[str, float]]) -> dict[str, float]:
        score = self.scores.get(key)
        if score is None:
            score = make()
            self.scores.add(key, score)
        return score

    def _score(self, arch: Arch, approach: str, seed: int) -> float:
        judge = self._judge(approach, seed)
        return self._once(f"{approach} {seed} {arch.key}", lambda: judge.score(arch))[judge.primary]

    def _measured(self, arch: Arch) -> float:
        mode, settings = self.recipe.search.mode, self.recipe.latency_table
        return self._once(f"ms {arch.key}", lambda: time_row(arch, mode, self.base.setup, settings))["p50_ms"]

    def final_score(self, arch: Arch) -> float:
        judge, most = self._judge("ptq", 0), self.recipe.evaluate.max_questions
        examples = judge.subject.load("evaluation", most, self.recipe.seed)
        judge.subject.refuse_overlap(trained_on(self.ctx), examples)
        if self.final == "finetune":
            return self._trained(judge.net, arch, examples, "reported")

        def score() -> dict[str, float]:
            model = inside(judge.net, arch)
            return Scorer(judge.subject, judge.tokenizer, examples, self.recipe.quantize).score(model)

        return self._once(f"reported {arch.key}", score)[judge.primary]

    def _trained(self, net: SuperNet, arch: Arch, examples: Sequence[Any], name: str) -> float:
        """The int8 score of the encoder after the recipe's fine-tuning; its checkpoint stays."""
        judge = self._judge("ptq", 0)

        def score() -> dict[str, float]:
            folder = self.folder / name.replace(" ", "-") / arch.key
            settings, tokenizer = self.recipe.finetune, judge.tokenizer
            model = finetune_candidate(net, arch, self.recipe, settings, folder, self.progress, tokenizer)
            return Scorer(judge.subject, tokenizer, examples, self.recipe.quantize).score(model.eval())

        return self._once(f"fine-tuned {name} {arch.key}", score)[judge.primary]


def shapes(space: Space) -> tuple[list[Arch], list[Arch]]:
    """The encoders with fewer layers than the largest, and those narrower by the same proportions; it is in both."""
    most = space.largest
    shallow = [a for a in space if (a.hidden, a.intermediate) == (most.hidden, most.intermediate)]
    narrow = []
    for hidden in space.hidden:
        wanted = most.intermediate * hidden / most.hidden
        inner = min(space.intermediate, key=lambda size, wanted=wanted: abs(size - wanted))
        narrow.append(space.arch(most.layers, hidden, inner))
    return shallow, narrow


def scaled(space: Space, predicted: dict[Arch, float], limit: float) -> dict[str, Arch]:
    """The largest encoder with fewer layers, and with narrower ones of the same proportions, within the limit."""
    made = {}
    for name, archs in zip(SCALED, shapes(space), strict=True):
        fit = [arch for arch in archs if predicted[arch] <= limit]
        if fit:
            made[name] = max(fit, key=lambda arch: predicted[arch])
    return made


def spread(predicted: dict[Arch, float], count: int) -> list[Arch]:
    """So many encoders, evenly from the fastest to the slowest."""
    ranked = sorted(predicted, key=lambda arch: (predicted[arch], arch))
    count = min(count, len(ranked))
    return [ranked[round(i * (len(ranked) - 1) / max(1, count - 1))] for i in range(count)]


def table(rows: Sequence[Row], metric: str) -> str:
    """Means over seeds as a Markdown table."""
    lines = [
        f"| limit | way | {metric} in int8, mean (lowest to highest) | predicted ms | measured ms | scored | seeds |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for limit, method in dict.fromkeys((row.limit_ms, row.method) for row in rows):
        own = [row for row in rows if (row.limit_ms, row.method) == (limit, method)]
        scores = [row.score for row in own]
        lines.append(
            f"| {limit:.2f} ms | {method} | {statistics.mean(scores):.2f} ({min(scores):.2f} to {max(scores):.2f}) | "
            f"{statistics.mean(row.predicted_ms for row in own):.2f} | "
            f"{statistics.mean(row.measured_ms for row in own):.2f} | {own[0].scored} | {len(own)} |"
        )
    return "\n".join(lines)


def as_json(rows: Sequence[Row], agreement: Agreement | None) -> dict[str, Any]:
    """Everything, for a file."""
    return {"rows": [asdict(row) for row in rows], "agreement": asdict(agreement) if agreement else None}


def _array(values: Sequence[float]) -> Any:
    return np.array(values)


@app.command("nas")
def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run of the kind nas, with its predictor")],
    limits: Annotated[
        list[float], typer.Option(metavar="S...", help="shares of the largest encoder's latency")
    ] = DEFAULT_LIMITS,
    seeds: Annotated[int, typer.Option(metavar="N", help="searches of each kind")] = 3,
    final: Annotated[Literal["inside", "finetune"], typer.Option(help="how choices are made")] = "inside",
    sample: Annotated[int, typer.Option(metavar="N", help="fine-tune so many, to compare ranks")] = 0,
    path: Json = None,
) -> None:
    """Architecture searches and scaled encoders at equal latency and cost."""
    with running_job():
        bench = Bench(run, final)
        rows = bench.rows(limits, range(seeds))
        agreement = bench.agreement(sample) if sample else None
    text = table(rows, bench.metric)
    if agreement:
        count = len(agreement.keys)
        text += f"\n\n{count} encoders inside the supernet and fine-tuned: Spearman {agreement.spearman:.3f}"
    report(text, path, {**as_json(rows, agreement), "machine": machine()})
