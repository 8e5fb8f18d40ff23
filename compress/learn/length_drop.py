"""LengthDrop: one training that makes a model serve every length configuration.

The method is that of the Length-Adaptive Transformer (Kim and Cho, arXiv 2010.07003): sandwich rule and in-place
distillation. Two choices are ours. The divergence is KL(teacher || student), as in the paper's text: it makes the
student cover every answer that the full-length pass finds likely, while the published code minimises the reverse,
which lets it settle on one of them. And attention can be guided (`significance_weight`): which tokens are kept is
decided by a top-k through which no gradient flows, and left alone MiniLM keeps the answer little more often than
chance would, though with the answer kept it loses nothing. So a hinge loss asks, where tokens are dropped, that the
answer's ends receive a share of the attention that is sure to keep them.

Or tokens are ranked by scorers (`significance: learned`, see `zoo.scorer`): they learn in every pass to rank tokens as
the last layers' attention in the full-length pass does, at first with nothing dropped (`scorer_steps`), then while the
model learns to do with what they keep. The hinge then asks for high scores of the answer's ends. Where what is dropped
is mapped to the last layer (`zoo.shortcut`), a token is also needed as much as its map is wrong: on 600 pairs of
STS-B's training set, before any training, that is worth 3 points of Spearman at 47 % of the MACs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from compress.learn.distill import Guidance, distillation
from compress.learn.finetune import learn
from compress.learn.loop import STATE, Hook
from compress.learn.neighbours import groups_of, vectors_of
from compress.learn.precision import computing
from compress.learn.student import Student, Workplace
from compress.learn.teacher import TeacherLogits
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.length_groups import LengthDrop
from compress.recipe.stage import StageContext, float_checkpoint
from compress.tasks.dropping import bounds_of, dropping, sampled, smallest, surviving_layers
from compress.tasks.losses import attention_hinge, divergence, of_answer, ranking
from compress.tasks.samples import Forward, Sample, collate, inputs_of
from compress.tasks.subject import Subject
from compress.tasks.subjects import subject_of, unlabelled_samples
from zoo.checkpoints import compared_as, pad_of, read_config
from zoo.devices import CPU
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json, write_json
from zoo.modeling import LengthAdaptiveModel, Output
from zoo.pooling import KEY as POOLING
from zoo.pooling import SHORTCUTS, Pooling
from zoo.shortcut import Fit
from zoo.significance import LEARNED, NAME
from zoo.task_types import TaskType
from zoo.tasks import QUESTIONS

Batch = dict[str, Tensor]
FITTED = 2048, 32  # samples that shortcuts are fitted to, and how many are read at once
SCORER_RATE = 32  # times the learning rate of weights that are trained already: scorers start from nothing
SHORTCUT_RATE = 1 / 4  # likewise: what least squares found is precise, and a step moves every number of it alike
GROUPS = "neighbours.json"  # beside the training's checkpoint


class Beginning(Hook):
    """The steps at the beginning of a training in which scorers learn and nothing is dropped yet.

    Args:
        steps: so many.
        waiting: parameters that do not learn meanwhile. Where full length has nothing to learn, Adam would take the
            noise of its tiny gradients for their size, and throw the weights far off at the first ones that count.

    Attributes:
        lasts: whether the step under way is one of them.
        step: the one under way.
    """

    def __init__(self, steps: int = 0, waiting: Sequence[Tensor] = ()):
        self.steps, self.waiting, self.lasts, self.step = steps, waiting, steps > 0, 0

    def before_step(self, step: int, total: int) -> None:
        self.lasts, self.step = step < self.steps, step

    def after_backward(self, step: int, total: int) -> None:
        if self.lasts:
            for parameter in self.waiting:
                parameter.grad = None


@dataclass(frozen=True)
class Sandwich:
    """The loss of `compress.learn.loop.train` for LengthDrop: the largest, the smallest and random sub-models a step.

    Attributes:
        settings: of a recipe.
        bounds: the largest share that each layer may drop.
        task_loss: of the full-length pass, from logits and batch.
        kind: of the task, which says how outputs are compared, and whether an input holds an answer that attention can
            be guided to.
        beginning: knows whether tokens are dropped yet.
    """

    settings: LengthDrop
    bounds: list[float]
    task_loss: Callable[[Tensor, Mapping[str, Tensor]], Tensor] = of_answer
    kind: TaskType = QUESTIONS
    beginning: Beginning = field(default_factory=Beginning)

    @classmethod
    def of(cls, settings: LengthDrop, model: LengthAdaptiveModel, subject: Subject[Any] | None = None) -> Sandwich:
        """That of a model and of what it is about, by default questions."""
        bounds, beginning = bounds_of(settings, model), Beginning()
        if settings.significance == LEARNED:
            is_there = subject is not None and subject.learns_alone  # what full length should say, it says already
            waiting = [each for name, each in model.named_parameters() if not name.startswith(f"{NAME}.")]
            beginning = Beginning(settings.scorer_steps, waiting if is_there else ())
        if subject is None:
            return cls(settings, bounds, beginning=beginning)
        return cls(settings, bounds, subject.loss_of, compared_as(model.config), beginning)

    @property
    def count(self) -> int:
        """Passes a step."""
        return self.settings.num_sandwich + 2

    @property
    def weight(self) -> float:
        """Of the hinge on attention."""
        return self.settings.significance_weight if self.kind.has_spans else 0.0

    def passes(self, count: Tensor, chance: random.Random) -> Iterator[tuple[str, Tensor | None, list[bool] | None]]:
        """Of every pass its name, the lengths that go on after each layer, None for all, and which layers run.

        Args:
            count: real tokens, `[batch]`.
            chance: draws lengths and layers.
        """
        layers, skipped = len(self.bounds), self.settings.layer_dropout_prob
        if self.beginning.lasts:
            yield "full", None, None
            return
        if self.beginning.step % self.settings.full_every == 0:
            yield "full", None, surviving_layers(layers, skipped, chance)
            yield "smallest", smallest(count, self.bounds), surviving_layers(layers, skipped, chance)
        for _ in range(self.settings.num_sandwich):
            yield "sampled", sampled(count, self.bounds, chance), surviving_layers(layers, skipped, chance)

    def hinge(self, out: Output, batch: Batch, count: Tensor) -> Tensor | None:
        """How far attention is from keeping the answer; None where it is not guided or was not scored."""
        if not self.weight or not out.significance:
            return None
        return attention_hinge(out.significance, batch["start"], batch["end"], smallest(count, self.bounds))

    def __call__(
        self, model: Forward, batch: Batch, chance: random.Random
    ) -> Iterator[tuple[Tensor, dict[str, float]]]:
        """The losses of a step, each its share of their mean: of the task, then of what full length teaches."""
        inputs, learned = inputs_of(batch), self.settings.significance == LEARNED
        count, teacher, needed = inputs["attention_mask"].sum(1), torch.empty(0), dict[int, Tensor]()
        for name, lengths, layers in self.passes(count, chance):
            scored = lengths is None and (self.weight > 0 or learned)
            out = model(**inputs, lengths=lengths, layers=layers, scored=scored)
            if lengths is None:
                value, teacher = self.task_loss(out.logits, batch), out.logits.detach()
                figures = {"loss": value.item()}
            elif len(teacher):
                value = divergence(out.logits, teacher, self.kind)
                figures = {f"kl_{name}": value.item()}
            else:  # there is only the teacher of the recipe to learn from
                value, figures = out.logits.sum() * 0, {}
            needed = out.needed or needed
            hinge = self.hinge(out, batch, count)
            rank = ranking(out.significance, needed) if needed and out.significance else None
            del out  # only one pass's activations live at a time
            for term, loss, weight in (("hinge", hinge, self.weight), ("rank", rank, 1.0)):
                if loss is not None:
                    figures[f"{term}_{name}"] = loss.item()
                    value = value + weight * loss
            yield value / self.count, figures


def run(ctx: StageContext[LengthAdaptiveRecipe]) -> dict[str, Any]:
    """Stage `length_drop`: a fine-tuned checkpoint -> one that serves every length configuration.

    A teacher, if the recipe has one, is heard in every pass: of the full length beside the labels, of the others beside
    the student's own full length.
    """
    recipe, subject = ctx.recipe, subject_of(ctx.recipe)
    settings, source = recipe.length_drop, float_checkpoint(ctx)[0]
    tokenizer = load_tokenizer(source)
    model = subject.load_model(source, settings.dropout, **dropping(settings), **_pooling(settings, source))
    model.attention_dropout = settings.attention_dropout
    sandwich = Sandwich.of(settings, model, subject)
    student = Student(model, tokenizer, unlabelled_samples(recipe, tokenizer, settings))
    if model.shape.mapped and not (ctx.folder / "checkpoint" / STATE).exists():
        ctx.progress.note("what dropped tokens would have become is fitted by least squares")
        fit_shortcuts(model, student.data, random.Random(recipe.training.seed))
    loss, guidance = sandwich, Guidance.of(recipe, ctx.inputs) if recipe.distill.apply else None
    if guidance:
        loss = distillation(guidance, sandwich, student, sandwich.count)
    own = {f"{NAME}.": SCORER_RATE, f"{SHORTCUTS}.": SHORTCUT_RATE}
    rates = {name: own[part] for name, _ in model.named_parameters() for part in own if name.startswith(part)}
    student = replace(student, groups=_neighbours(ctx, student, guidance.stored if guidance else None))
    hooks = [sandwich.beginning] if settings.significance == LEARNED or settings.full_every > 1 else []
    return learn(Workplace.of(ctx), student, settings, loss, model.save, hooks, rates)


def _neighbours(
    ctx: StageContext[LengthAdaptiveRecipe], student: Student[LengthAdaptiveModel], stored: Path | None
) -> Sequence[Sequence[int]]:
    """Texts that are learned from together, the same after an interruption; none where they come as they may.

    How alike they are is what the teacher says, where its vectors are `stored`, else what the student does.
    """
    path, size = ctx.folder / GROUPS, ctx.recipe.length_drop.neighbours
    if size < 2:
        return ()
    if not path.exists():
        ctx.progress.note(f"texts are grouped by {size} that are most alike")
        if stored is not None:
            vectors = normalize(TeacherLogits(stored, student.data).lookup(range(len(student.data))), dim=1)
        else:
            with computing(ctx.recipe.training.precision, CPU):
                vectors = vectors_of(student.model, student.data)
        write_json(path, groups_of(vectors, size, ctx.recipe.training.seed))
    return read_json(path)


@torch.no_grad()
def fit_shortcuts(model: LengthAdaptiveModel, samples: Sequence[Sample], chance: random.Random) -> None:
    """Sets a model's shortcuts to what least squares give for some of the samples, before it is trained on them.

    Args:
        model: whose states before any token is dropped count.
        samples: with what to read.
        chance: draws the samples.
    """
    fit, window = Fit(model.drop_layers, model.shape.hidden), FITTED[1]
    some = chance.sample(list(samples), min(len(samples), FITTED[0]))
    some.sort(key=lambda sample: len(sample.window.input_ids))
    model.eval()
    for i in range(0, len(some), window):
        inputs = inputs_of(collate(some[i : i + window], pad_of(model.config)))
        fit.add(model.states(**inputs), inputs["attention_mask"].bool())
    for layer in model.drop_layers:
        fit.solve(layer, model.shortcut(layer))


def _pooling(settings: LengthDrop, source: Path) -> dict[str, Any]:
    """What a recipe says of how a checkpoint's vectors are made, as a key of `config.json`."""
    if settings.pooled is None:
        return {}
    pooling = Pooling.of(read_config(source))
    if pooling.mode == "cls":
        raise UserError("The model's vectors are those of its first token, which is never dropped: leave pooled out.")
    if settings.pooled == "mapped" and pooling.mode != "mean":
        raise UserError(
            "length_drop.pooled=mapped is for vectors that are means of states, and this model's are maxima: take "
            "restored or left."
        )
    return {POOLING: replace(pooling, over=settings.pooled).to_dict()}
