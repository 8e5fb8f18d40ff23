"""Pruning: weights of linear layers are set to zero while training goes on, and stay exactly zero."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compress.learn.loop import Hook
from compress.learn.pruning.masks import KEPT, choose, moves_of
from compress.learn.pruning.patterns import Units, config_of, shapes_of, units_of
from compress.learn.pruning.report import sparsity_of
from compress.learn.pruning.schedules import Plan, criterion_of, needs_gradient, plan_of, reached
from zoo.checkpoints import groups_of
from zoo.errors import UserError
from zoo.families import family_of

if TYPE_CHECKING:
    from compress.recipe.training_groups import Prune
    from zoo.modeling import LengthAdaptiveModel

log = logging.getLogger(__name__)

LOCK = "pattern_lock"
FRESH = 0.9  # weight of a step's |weight x gradient| in the sum of snip_momentum


def check(
    source: LengthAdaptiveModel | Mapping[str, Any], settings: Prune, total_steps: int | None = None
) -> list[Units]:
    """Tells what cannot work before any work is done.

    Args:
        source: the model, or the `config.json` of its checkpoint.
        settings: how to prune.
        total_steps: of the training, where it is known.

    Returns:
        What will be ranked.

    Raises:
        UserError: the pattern does not fit a layer's shape or the approach, `excluded` names no layer or all of them,
            layers share their weights, the training ends before the pruning does, or the zeros of a model are to be
            locked that has none.
    """
    config = config_of(source)
    groups, row = groups_of(config), family_of(config.get("model_type"))
    if row.rotary or len(set(groups)) < len(groups):
        raise UserError(
            f"{row.title} cannot be pruned here: {row.peculiarity}. Quantize it as it is, or prune a BERT, RoBERTa or "
            "DistilBERT checkpoint."
        )
    units = units_of(shapes_of(source), config["num_attention_heads"], settings)
    if settings.approach != LOCK:
        if total_steps is not None:
            plan_of(settings, total_steps)
    elif not isinstance(source, Mapping) and not any(
        (source.get_parameter(f"{part.name}.weight") == 0).any() for each in units for part in each.parts
    ):
        raise UserError(
            "pattern_lock keeps the zeros that a checkpoint has, and this one has none. Start from a pruned one, or "
            "choose another prune.approach."
        )
    return units


class Pruner(Hook):
    """Prunes the linear layers of a model's encoder while it is trained; embeddings and heads are left alone.

    Weights are ranked by their size (`magnitude`), their gradient (`gradient`), the product of both (`snip`, by the
    gradient of the last step), or that product's sum over all steps so far, each with the weight 0.9
    (`snip_momentum`). What goes together (`prune.pattern`) is ranked by its mean. At every pruning the masks are drawn
    afresh from the scores: a pruned weight whose score rises above others' comes back, as zero, until `end_step`; from
    then on the masks stay. As a pruned weight is 0, so is its share in a score that multiplies by it: by `gradient`
    weights do come back, by `snip_momentum` some, by `magnitude` and `snip` hardly any.

    With `_progressive` the masks go over to the new ones in up to four moves: of the weights that are to go, those
    with the lowest scores first, so that blocks and channels fade instead of breaking off.

    `pattern_lock` keeps the zeros that the model has when the pruner is made, and prunes nothing else.

    The gradient of a pruned weight is taken out, so that neither cutting gradients nor the optimizer's moments know of
    it, and the weight is set to zero again after every step (weight decay and old moments move it), in `finish` and
    after a resume. An approach that ranks by gradients prunes at step 1 at the earliest: `start_step` 0 is raised.

    Args:
        model: what is trained. It keeps hold of the parameters, so that a layer that is wrapped later is still pruned.
        settings: how.

    Raises:
        UserError: see `check`.
    """

    def __init__(self, model: LengthAdaptiveModel, settings: Prune):
        self.units = check(model, settings)
        self.model, self.settings = model, settings
        self.criterion = criterion_of(settings.approach)
        names = dict.fromkeys(part.name for each in self.units for part in each.parts)
        self.weights = {name: model.get_parameter(f"{name}.weight") for name in names}
        self.masks: dict[str, Tensor] = {}
        self._scores: dict[str, Tensor] = {}
        self._due: dict[str, Tensor] = {}
        self._move, self._way = 0, 0.0
        self._plan: tuple[int, Plan] | None = None
        if settings.approach == LOCK:
            self._due = {name: torch.where(weight == 0, 0, KEPT).byte() for name, weight in self.weights.items()}
            self._renew()

    @property
    def target(self) -> float:
        """Share of the weights that are zero in the end; with N:M it is N / M."""
        if ":" in self.settings.pattern:
            drop, of = map(int, self.settings.pattern.split(":"))
            return drop / of
        return self.settings.target_sparsity

    def before_step(self, step: int, total: int) -> None:
        if self.settings.approach == LOCK:
            return
        plan = self._planned(total)
        way, move = plan.at(step)
        if way is not None:
            self._decide(way, plan.moves)
        if way is not None or move != self._move:
            self._move = move
            self._renew()
            self._apply()

    def after_backward(self, step: int, total: int) -> None:
        if needs_gradient(self.settings.approach) and self._way < 1:
            self._rank()
        for name, weight in self.weights.items():
            if name in self.masks and weight.grad is not None:
                weight.grad.masked_fill_(~self._mask(name), 0.0)

    def after_step(self, step: int, total: int) -> None:
        self._apply()

    def finish(self) -> None:
        self._apply()
        if not self.complete:
            log.warning(
                "The training ended before prune.end_step: instead of %.1f %% of the weights, %.1f %% are zero. "
                "Set prune.end_step to an earlier step, or train longer.",
                100 * self.target,
                100 * self.report()["locked"],
            )

    @property
    def complete(self) -> bool:
        """Whether the masks are the last ones."""
        ends = {name: (due == KEPT).to(self.masks[name].device) for name, due in self._due.items()}
        equal = bool(ends) and all(self.masks[name].equal(end) for name, end in ends.items())
        return equal and (self.settings.approach == LOCK or self._way == 1)

    def report(self) -> dict[str, Any]:
        """`sparsity_of` the model and the masks, with the approach, the pattern and the target."""
        settings = self.settings
        aim = {} if settings.approach == LOCK else {"pattern": settings.pattern, "target": self.target}
        masks = self.masks or {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.weights.items()}
        return {"approach": settings.approach, **aim, **sparsity_of(self.model, masks)}

    def state_dict(self) -> dict[str, Any]:
        return {"due": dict(self._due), "move": self._move, "way": self._way, "scores": dict(self._scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._due, self._scores = dict(state["due"]), dict(state["scores"])
        self._move, self._way = state["move"], state["way"]
        self._renew()
        self._apply()

    def _planned(self, total: int) -> Plan:
        if self._plan is None or self._plan[0] != total:
            self._plan = total, plan_of(self.settings, total)
        return self._plan[1]

    @torch.no_grad()
    def _rank(self) -> None:
        """Takes this step's gradients into the scores. A layer that had none in it keeps what it has."""
        for name, weight in self.weights.items():
            if weight.grad is None:
                continue
            score = (weight.grad if self.criterion == "gradient" else weight * weight.grad).abs()
            if self.criterion == "snip_momentum":
                score *= FRESH
                if name in self._scores:
                    score += self._scores[name].to(score.device)
            self._scores[name] = score

    @torch.no_grad()
    def _decide(self, way: float, moves: int) -> None:
        """Draws the masks of a point of the way, and when every weight goes."""
        settings, target = self.settings, self.target
        if self.criterion == "magnitude":
            scores = {name: weight.abs() for name, weight in self.weights.items()}
        else:
            scores = {
                name: self._scores[name].to(weight.device) if name in self._scores else torch.zeros_like(weight)
                for name, weight in self.weights.items()
            }
        share = reached(settings.schedule, target, way)
        pruned = choose(
            self.units,
            [each.score(scores) for each in self.units],
            share,
            settings.scope == "global",
            settings.min_sparsity_per_op * share / max(target, 1e-9),
            settings.max_sparsity_per_op,
        )
        for each, flags in zip(self.units, pruned, strict=True):
            for part in each.parts:
                after, due = part.unfold(flags), self._due.get(part.name)
                before = torch.zeros_like(after) if due is None else due.to(after.device) != KEPT
                self._due[part.name] = moves_of(before, after, scores[part.name], moves)
        self._way = way
        if way == 1:
            self._scores.clear()  # nothing is decided any more

    def _renew(self) -> None:
        self.masks = {name: due > self._move for name, due in self._due.items()}

    def _mask(self, name: str) -> Tensor:
        """A mask where its weight is: training may have moved the model since the mask was loaded."""
        mask = self.masks[name] = self.masks[name].to(self.weights[name].device)
        return mask

    @torch.no_grad()
    def _apply(self) -> None:
        for name in self.masks:
            self.weights[name].masked_fill_(~self._mask(name), 0.0)
