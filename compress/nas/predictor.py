"""Latency of any encoder of a space, learned from a table: a sum of costs that only rise with the sizes.

A latency is a sum of terms with weights that are never negative, each of which cannot fall as a size rises: so neither
can the prediction. The terms are the multiplications and copies of an encoder (`physics`), the same bent at a few
places, where a cache ends (`hinges`), and jumps, where a kernel needs another tile (`steps`). Bigger&Faster trains a
network of 12 million weights instead, which may call a larger encoder the faster one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import rankdata

from compress.nas.space import Arch
from compress.nas.table import Table, refuse_foreign
from compress.recipe.nas import NasRecipe
from compress.recipe.nas_groups import LatencyPredictor
from compress.recipe.stage import StageContext
from zoo.errors import UserError
from zoo.files import read_json, write_json

BASES = ("physics", "hinges", "steps")
BENDS, JUMPS = 7, 24  # places at most, for each quantity
ROUNDS = 6  # of fitting with the rows that fit badly counting less
FOLDS = 5
FEW, FEW_HELD = 100, 10  # rows to learn from, and to tell the error on, below which an error says little
PREDICTOR = "predictor.json"
SIZES = tuple(f.name for f in fields(Arch))

Knots = dict[str, list[float]]


@dataclass(frozen=True)
class Fit:
    """A fitted sum.

    Attributes:
        basis: which terms.
        knots: where they bend or jump, by quantity.
        scales: the largest value of each term in training.
        weights: milliseconds of each term at that value, none negative.
        low, high: of every size in training, in the order of `Arch`.
    """

    basis: str
    knots: Knots
    scales: list[float]
    weights: list[float]
    low: list[int]
    high: list[int]

    def predict(self, archs: Sequence[Arch]) -> np.ndarray:
        """Milliseconds of each.

        Raises:
            UserError: a size lies outside of what was measured.
        """
        for arch in archs:
            for name, size, low, high in zip(SIZES, astuple(arch), self.low, self.high, strict=True):
                if not low <= size <= high:
                    raise UserError(
                        f"The latency predictor has seen {name} from {low} to {high}, {arch} has {size}. Measure a "
                        "table of a larger space, or keep to this one."
                    )
        return terms(archs, self.basis, self.knots) / np.array(self.scales) @ np.array(self.weights)


def quantities(archs: Sequence[Arch]) -> dict[str, np.ndarray]:
    """What the terms are made of; none falls as a size rises."""
    layers, hidden, inner, heads, qkv = np.array([arch.features() for arch in archs]).reshape(-1, len(SIZES)).T
    return {
        "layers": layers,
        "hidden": hidden,
        "intermediate": inner,
        "heads": heads,
        "qkv": qkv,
        "attention": hidden * qkv,
        "feed": hidden * inner,
        "all": layers * (4 * hidden * qkv + 2 * hidden * inner),
    }


def places(archs: Sequence[Arch]) -> Knots:
    """Where terms may bend and jump: evenly over what occurs."""
    values = quantities(archs)
    knots: Knots = {}
    for name in ("attention", "feed", "all"):
        knots[name] = np.unique(np.quantile(values[name], np.linspace(0, 1, BENDS + 2)[1:-1])).tolist()
    for name in ("hidden", "intermediate"):
        steps = np.unique(values[name])[1:]
        knots[name] = np.unique(steps[np.linspace(0, len(steps) - 1, JUMPS).astype(int)]).tolist() if len(steps) else []
    return knots


def terms(archs: Sequence[Arch], basis: str, knots: Knots) -> np.ndarray:
    """The terms `[archs, terms]`: not negative, and none falls as a size rises."""
    q = quantities(archs)
    layers, hidden, inner = q["layers"], q["hidden"], q["intermediate"]
    columns = [np.ones_like(layers), hidden, layers]
    columns += [layers * q[name] for name in ("hidden", "intermediate", "heads", "attention", "feed")]
    if basis != "physics":
        for name, count in (("attention", layers), ("feed", layers), ("all", 1.0)):
            for knot in knots[name]:
                columns += [count * np.minimum(q[name], knot), count * np.maximum(q[name] - knot, 0)]
    if basis == "steps":
        for knot in knots["hidden"]:
            wide = (hidden >= knot).astype(float)
            columns += [layers * wide, layers * inner * wide, layers * hidden * wide]
        for knot in knots["intermediate"]:
            columns += [layers * (inner >= knot), layers * hidden * (inner >= knot)]
    return np.stack(columns, 1)


def fit(archs: Sequence[Arch], times: np.ndarray, basis: str) -> Fit:
    """Weights for which the relative errors are small, those of single rows that went wrong counting little.

    Args:
        archs: the encoders.
        times: milliseconds of each, above 0.
        basis: one of `BASES`.
    """
    knots = places(archs)
    matrix = terms(archs, basis, knots)
    scales = np.maximum(matrix.max(0), 1e-12)
    relative = matrix / scales / times[:, None]
    calm = 1e-3 * np.eye(len(scales)) * np.sqrt(len(times)) / np.median(times)  # nearly equal terms share their weight
    trust = np.ones(len(times))
    weights = np.zeros(len(scales))
    for _ in range(ROUNDS):
        rows = np.concatenate([relative * trust[:, None], calm])
        weights = nnls(rows, np.concatenate([trust, np.zeros(len(scales))]), maxiter=50 * len(scales))[0]
        off = np.abs(relative @ weights - 1)
        trust = 1 / np.sqrt(np.maximum(off, max(float(np.median(off)), 1e-6)))
        trust /= trust.mean()
    sizes = np.array([astuple(arch) for arch in archs])
    return Fit(basis, knots, scales.tolist(), weights.tolist(), sizes.min(0).tolist(), sizes.max(0).tolist())


def errors(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """`mape` in percent, `rmse_ms` and `n`, and where ranks can be told apart `spearman`."""
    ranks = [rankdata(values) for values in (predicted, measured)]
    differ = len(measured) > 1 and all(np.ptp(rank) > 0 for rank in ranks)
    return {
        "mape": float(100 * np.mean(np.abs(predicted / measured - 1))),
        **({"spearman": float(np.corrcoef(*ranks)[0, 1])} if differ else {}),
        "rmse_ms": float(np.sqrt(np.mean((predicted - measured) ** 2))),
        "n": len(measured),
    }


def split(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows to learn from and of those to hold out; at least one of these."""
    order = np.random.default_rng(seed).permutation(count)
    size = max(1, round(share * count))
    return np.sort(order[size:]), np.sort(order[:size])


def best_basis(archs: Sequence[Arch], times: np.ndarray, seed: int) -> tuple[str, dict[str, float]]:
    """The basis that predicts best what it has not seen, in folds of the rows given, and the error of each, in percent.

    A fold that holds a largest or smallest encoder is predicted without having seen it: bounds are not asked there.
    """
    turns = np.random.default_rng(seed).permutation(len(archs)) % FOLDS
    errors: dict[str, float] = {}
    for basis in BASES:
        off = []
        for turn in range(FOLDS):
            inner, unseen = (np.flatnonzero(part).tolist() for part in (turns != turn, turns == turn))
            model = fit([archs[i] for i in inner], times[inner], basis)
            matrix = terms([archs[i] for i in unseen], basis, model.knots)
            off.append(np.abs(matrix / np.array(model.scales) @ np.array(model.weights) / times[unseen] - 1))
        errors[basis] = float(100 * np.mean(np.concatenate(off)))
    return min(BASES, key=lambda basis: errors[basis]), errors


@dataclass(frozen=True)
class Predictor:
    """Predicts latencies at one machine and setup.

    Attributes:
        fits: by mode.
        error: by mode, on rows held out; see `errors`.
        machine, setup: as the table has them.
    """

    fits: dict[str, Fit]
    error: dict[str, dict[str, Any]]
    machine: dict[str, Any]
    setup: dict[str, Any]

    def predict(self, archs: Sequence[Arch], mode: str) -> np.ndarray:
        """Milliseconds of each in a mode.

        Raises:
            UserError: the mode was not measured, or a size lies outside of what was.
        """
        if mode not in self.fits:
            raise UserError(
                f"The latency predictor knows {', '.join(self.fits)}, not {mode}. Add it to latency_table.modes."
            )
        return self.fits[mode].predict(archs)

    def notice(self, mode: str) -> str:
        """What to say of an error that rests on few rows; empty where it rests on enough."""
        told = self.error.get(mode, {})
        rows, held = told.get("learned_from", FEW), told.get("n", FEW_HELD)
        if rows >= FEW and held >= FEW_HELD:
            return ""
        return (
            f"latencies in {mode} are predicted from {rows} rows only and were checked on {held}: an error of "
            f"{told['mape']:.1f} % says little. Measure more: latency_table.rows"
        )

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path | str) -> Predictor:
        """Reads `predictor.json`, or the one in a folder.

        Raises:
            UserError: it is none, or was learned on another machine.
        """
        path = Path(path).expanduser()
        path = path / PREDICTOR if path.is_dir() else path
        data = read_json(path)
        try:
            fits = {mode: Fit(**row) for mode, row in data["fits"].items()}
            predictor = cls(fits, data["error"], data["machine"], data["setup"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no latency predictor: {error!r}. Make one with the stage predictor.") from error
        refuse_foreign(predictor.machine, "The latency predictor")
        return predictor


def train(table: Table, settings: LatencyPredictor) -> tuple[Predictor, dict[str, list[tuple[str, float, float]]]]:
    """A predictor for every mode of a table.

    Args:
        table: the rows.
        settings: a recipe's `predictor` group.

    Returns:
        The predictor, which has never seen the held-out rows, and of these by mode (key, predicted, measured) in ms.
    """
    fits: dict[str, Fit] = {}
    error: dict[str, dict[str, Any]] = {}
    residuals: dict[str, list[tuple[str, float, float]]] = {}
    for mode in table.modes:
        rows = table.of(mode)
        archs, times = [row.arch for row in rows], np.array([row.p50_ms for row in rows])
        edge = {i for i, arch in enumerate(archs) if _at_edge(arch, archs)}  # learned from: nothing lies outside then
        inner = [i for i in range(len(rows)) if i not in edge]
        if len(inner) < 10:
            raise UserError(f"The latency table has {len(rows)} rows of {mode}: measure 20 at least.")
        known, unknown = split(len(inner), settings.held_out, settings.seed)
        chosen = sorted([*edge, *(inner[i] for i in known)])
        basis, scores = settings.basis, {}
        if basis == "auto":
            basis, scores = best_basis([archs[i] for i in chosen], times[chosen], settings.seed)
        fits[mode] = fit([archs[i] for i in chosen], times[chosen], basis)
        targets = [archs[inner[i]] for i in unknown]
        predicted, measured = fits[mode].predict(targets), times[[inner[i] for i in unknown]]
        error[mode] = {**errors(predicted, measured), "basis": basis, "folds_mape": scores, "learned_from": len(chosen)}
        pairs = zip(targets, predicted.tolist(), measured.tolist(), strict=True)
        residuals[mode] = [(arch.key, guess, real) for arch, guess, real in pairs]
    return Predictor(fits, error, table.machine, table.setup), residuals


def _at_edge(arch: Arch, archs: Sequence[Arch]) -> bool:
    """Whether every size is the smallest or the largest there is."""
    for name in ("layers", "hidden", "intermediate"):
        sizes = [getattr(other, name) for other in archs]
        if getattr(arch, name) not in (min(sizes), max(sizes)):
            return False
    return True


def run(ctx: StageContext[NasRecipe]) -> dict[str, Any]:
    """Stage `predictor`: `table.json` -> `predictor.json`, and `held_out.json` with what it was tested on."""
    table = Table.load(ctx.inputs["latency_table"])
    ctx.progress.update(0, 1)
    predictor, residuals = train(table, ctx.recipe.predictor)
    predictor.save(ctx.folder / PREDICTOR)
    write_json(ctx.folder / "held_out.json", residuals)
    ctx.progress.update(1, 1)
    notices = {mode: notice for mode in predictor.error if (notice := predictor.notice(mode))}
    for notice in notices.values():
        ctx.progress.note(notice)
    keys = ("mape", "spearman", "rmse_ms", "n", "basis", "learned_from")
    return {
        mode: {
            **{key: errors[key] for key in keys if key in errors},
            **({"notice": notices[mode]} if mode in notices else {}),
        }
        for mode, errors in predictor.error.items()
    }
