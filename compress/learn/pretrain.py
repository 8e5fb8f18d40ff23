"""Sparse pre-training: masked language modelling with pruning and distillation from the dense model."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.learn.distill import hidden_distance, paired_layers, tokenizer_of, watching
from compress.learn.loop import Hook, Loss, Schedule, train
from compress.learn.masked_lm import Masking
from compress.learn.shards import Shards
from compress.learn.teacher import check_reading
from zoo.checkpoints import FAMILIES, theirs
from zoo.errors import UserError
from zoo.files import write_json
from zoo.modeling import MASK, LengthAdaptiveModel

# Where a family's checkpoints keep what turns hidden states into words: transform, its norm, and the words' bias.
HEADS = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    "mpnet": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
}
OWN_HEAD = ("qa_outputs.", "dense.", "classifier.")  # of a LengthAdaptiveModel, for its task


def run(ctx: Any) -> dict[str, Any]:
    """Stage `pretrain`: a dense checkpoint and blocks of text -> a sparse checkpoint for masked texts.

    Raises:
        UserError: the checkpoint, its teacher or the way of pruning do not fit.
    """
    from compress.learn.finetune import checkpoint_of, freeze
    from compress.learn.pruning.prune import Pruner
    from compress.learn.pruning.report import sparsity_of

    recipe, settings, training = ctx.recipe, ctx.recipe.pretrain, ctx.recipe.training
    source, tokenizer = checkpoint_of(recipe.model), tokenizer_of(recipe)
    torch.manual_seed(training.seed)
    model = MaskedLanguageModel.load(source, settings.dropout)
    teacher = open_teacher(recipe, tokenizer)
    freeze(model.encoder, training)
    hooks: list[Hook] = [Pruner(model.encoder, recipe.prune)] if recipe.prune.apply else []
    data = Shards(ctx.inputs["text"])
    schedule = schedule_on(ctx, settings, len(data))
    loss = masked(settings, model, Masking(tokenizer), teacher)
    result = train(cast(Any, model), data, loss, schedule, ctx.folder, ctx.progress, tokenizer.pad_token_id, hooks)
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun all processes hold the same weights
        model.save(ctx.folder)
        tokenizer.save_pretrained(str(ctx.folder))
    found = sparsity_of(model.encoder)
    return {**result, "blocks": len(data), "sparsity": found["operators"], "sparsity_of_model": found["model"]}


def schedule_on(ctx: Any, settings: Any, blocks: int, **more: Any) -> Schedule:
    """What a group of a recipe says of a stage's training on so many blocks, by steps where it counts in steps."""
    from compress.learn.finetune import schedule_of

    if settings.steps:
        more["epochs"] = (settings.steps - 0.5) / -(-blocks // settings.batch_size)
    return schedule_of(ctx, settings, **more)


def open_teacher(recipe: Any, tokenizer: Any) -> MaskedLanguageModel | None:
    """The dense model that pre-training distils from, if it does.

    Raises:
        UserError: it cannot tell words, where that is wanted, or does not fit the tokenizer.
    """
    from compress.learn.finetune import checkpoint_of
    from zoo.features import load_tokenizer

    settings = recipe.pretrain
    if not settings.teacher_weight and not settings.hidden_weight:
        return None
    folder = checkpoint_of(settings.teacher or recipe.model)
    model = MaskedLanguageModel.load(folder)
    if settings.teacher_weight and not model.has_head:
        raise UserError(
            f"{settings.teacher or recipe.model} has no head for masked words, so that it cannot teach them. Set "
            "pretrain.teacher_weight to 0 and pretrain.hidden_weight to 1: its hidden states are learned from then."
        )
    known = load_tokenizer(folder) if settings.teacher else tokenizer
    check_reading(model.encoder, known, tokenizer, settings.block_tokens)
    return model.eval().requires_grad_(False)


class MaskedLanguageModel(nn.Module):
    """An encoder and what tells from its hidden states which words were masked; these are those of its embeddings.

    Args:
        encoder: its own head is neither used nor trained.
    """

    def __init__(self, encoder: LengthAdaptiveModel):
        super().__init__()
        config = encoder.config
        hidden, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
        self.encoder = encoder
        self.transform, self.norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden, eps=eps)
        nn.init.normal_(self.transform.weight, std=config.get("initializer_range", 0.02))
        nn.init.zeros_(self.transform.bias)
        self.bias = nn.Parameter(torch.zeros(config["vocab_size"]))
        self.has_head = False
        for name, parameter in encoder.named_parameters():
            if name.startswith(OWN_HEAD):
                parameter.requires_grad_(False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, holes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Hidden states `[batch, tokens, hidden]` and, at the `holes` `[batch, tokens]`, logits `[holes, words]`.

        Without holes there are no logits: over all tokens they would be most of the work.
        """
        encoder = self.encoder
        x = encoder.embed(input_ids, None)
        alive = attention_mask.bool()
        bias = (1.0 - alive[:, None, None, :].to(x.dtype)) * MASK
        for layer in encoder.blocks:
            x, _ = layer.attend(x, bias, encoder.dropout, False)
            x = layer.feed(x, encoder.dropout)
        if holes is None:
            return x, None
        told = self.norm(F.gelu(self.transform(x[holes])))
        return x, F.linear(told, encoder.words.weight, self.bias)

    @classmethod
    def load(cls, folder: Path, dropout: float = 0.0) -> MaskedLanguageModel:
        """Reads a checkpoint folder, with its head for masked words where it has one; else that is new.

        Raises:
            UserError: the folder is no checkpoint that can be used.
        """
        from safetensors import safe_open

        model = cls(LengthAdaptiveModel.load(folder, "qa", dropout))
        names = head_names(model.encoder.family)
        with safe_open(str(folder / "model.safetensors"), "pt") as file:
            old = {key.replace(".gamma", ".weight").replace(".beta", ".bias"): key for key in file.keys()}  # noqa: SIM118
            tied = model.encoder.config.get("tie_word_embeddings", True)  # an own matrix of words is not read
            if tied and all(there in old for there in names.values()):
                head = {ours: file.get_tensor(old[there]).float() for ours, there in names.items()}
                model.load_state_dict(head, strict=False)
                model.has_head = True
        return model.eval()

    def save(self, folder: Path) -> None:
        """Writes a checkpoint for masked texts, that transformers and `LengthAdaptiveModel.load(head=…)` read."""
        from safetensors.torch import save_file

        family, encoder = self.encoder.family, self.encoder
        state = {theirs(k, family): v for k, v in encoder.state_dict().items() if not k.startswith(OWN_HEAD)}
        own = self.state_dict()
        state |= {there: own[ours] for ours, there in head_names(family).items()}
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "model.safetensors.tmp"
        save_file({k: v.detach().float().cpu().contiguous() for k, v in state.items()}, draft, {"format": "pt"})
        draft.replace(folder / "model.safetensors")
        config = {**encoder.config, "architectures": [f"{FAMILIES[family]}ForMaskedLM"], "dtype": "float32"}
        write_json(folder / "config.json", config)


def head_names(family: str) -> dict[str, str]:
    """Our names of the weights of the head for masked words -> those of a family's checkpoints."""
    transform, norm, bias = HEADS[family]
    pairs = {
        f"{ours}.{kind}": f"{there}.{kind}"
        for ours, there in (("transform", transform), ("norm", norm))
        for kind in ("weight", "bias")
    }
    return {**pairs, "bias": bias}


def masked(
    settings: Any, student: MaskedLanguageModel, masking: Masking, teacher: MaskedLanguageModel | None = None
) -> Loss:
    """The loss of `compress.learn.loop.train` for masked texts: the mean of its parts by the settings' weights.

    The parts are the cross-entropy of the masked words, T^2 KL(teacher || student) over all words at the same places,
    and the squared distance of hidden states, the last or every layer's. Teacher and student read the same texts with
    the same holes.

    Args:
        settings: a `Pretrain` group.
        student: the model that is trained.
        masking: makes the holes.
        teacher: the dense model.

    Raises:
        UserError: hidden states of different widths are to be compared.
    """
    weights = {"words": settings.label_weight, "teacher": settings.teacher_weight, "hidden": settings.hidden_weight}
    total = sum(weights.values())
    pairs: list[tuple[int, int]] = []
    if teacher is not None and weights["hidden"]:
        pairs = paired_layers(student.encoder, teacher.encoder, settings.layers, True, False)

    def loss(model: Any, batch: dict[str, Tensor], chance: random.Random) -> Iterator[tuple[Tensor, dict[str, float]]]:
        ids, holes = masking(batch, chance)
        alive, goal = batch["attention_mask"], batch["input_ids"][holes]
        with watching(student.encoder, [here for here, _ in pairs]) as mine:
            _, logits = model(ids, alive, holes)
        parts = {"words": F.cross_entropy(logits.float(), goal)}
        if teacher is not None:
            with torch.inference_mode(), watching(teacher.encoder, [there for _, there in pairs]) as taught:
                _, words = teacher.to(ids.device)(ids, alive, holes if weights["teacher"] else None)
            if weights["teacher"]:
                warm = settings.temperature
                soft = (words.clone().float() / warm).log_softmax(1)
                own = (logits.float() / warm).log_softmax(1)
                parts["teacher"] = warm**2 * F.kl_div(own, soft, log_target=True, reduction="batchmean")
            if weights["hidden"]:
                parts["hidden"] = hidden_distance(mine.hidden, taught.hidden, alive.bool())
        value = torch.stack([weights[key] * part for key, part in parts.items() if weights[key]]).sum() / total
        right = (logits.argmax(1) == goal).float().mean().item()
        yield (
            value,
            {f"{key}_loss": part.item() for key, part in parts.items()} | {"loss": value.item(), "right": right},
        )

    return loss
