"""Tiny random models of every native family and head, and what transformers says of their padded batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from tests.zoo.model_kit import DISTIL, SIZES, transformers
from zoo.checkpoints import architecture, pad_of
from zoo.families import FAMILIES
from zoo.modeling import LengthAdaptiveModel
from zoo.task_types import TASK_TYPES
from zoo.tasks import LOST

SMALL_IDS = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
# family -> variants of it: what its configuration holds beside the sizes
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "bert-gelu_new": ("bert", {"hidden_act": "gelu_new"}),
    "bert-relu": ("bert", {"hidden_act": "relu"}),
    "bert-silu": ("bert", {"hidden_act": "silu"}),
    "roberta": ("roberta", {}),
    "xlm-roberta": ("xlm-roberta", {}),
    "camembert": ("camembert", {"hidden_act": "gelu_fast"}),
    "distilbert": ("distilbert", {"activation": "gelu_pytorch_tanh"}),
    "mpnet": ("mpnet", {}),
    "electra": ("electra", {"embedding_size": 16}),
    "electra-wide": ("electra", {"embedding_size": 32}),
    "albert": ("albert", {"embedding_size": 16, "num_hidden_groups": 1}),
    "modernbert": ("modernbert", {**SMALL_IDS, "local_attention": 16, "classifier_pooling": "mean"}),
    "modernbert-cls": ("modernbert", {**SMALL_IDS, "local_attention": 12, "layer_types": ["sliding_attention"] * 3}),
    "albert-groups": ("albert", {"embedding_size": 32, "num_hidden_groups": 2, "hidden_act": "gelu"}),
}
HEADS = list(TASK_TYPES)
CASES = [  # the heads do not know which activation a family's layers have
    (variant, head) for variant in VARIANTS for head in (HEADS if variant in FAMILIES else HEADS[:1])
]

CASES.append(("modernbert-cls", "classification"))  # reads the first token, where the other variant reads all
OWN_HEADS = ("bert", "electra", "modernbert")  # families whose graphs have heads that the others' do not
GRAPHS = [(variant, head) for variant, head in CASES if head == HEADS[0] or variant in OWN_HEADS] + CASES[-1:]


def made(variant: str, head: str, folder: Path) -> tuple[Any, LengthAdaptiveModel]:
    """A random model, as transformers has it and as this program loads it from `folder`."""
    family, extra = VARIANTS[variant]
    cls = getattr(transformers, architecture(family, TASK_TYPES[head]))
    sizes = DISTIL if family == "distilbert" else SIZES
    labels: dict[str, Any] = {"num_labels": 3} if TASK_TYPES[head].has_labels else {}
    labels |= {"finetuning_task": head} if TASK_TYPES[head].by_name else {}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        reference = cls(cls.config_class(**{**sizes, **labels, **extra})).eval()
        for parameter in reference.parameters():  # far from initialization, where every token looks alike
            parameter.data += 0.2 * torch.randn_like(parameter)
    reference.config._attn_implementation = "eager"
    reference.save_pretrained(folder)
    return reference, LengthAdaptiveModel.load(folder)


def batch_of(model: LengthAdaptiveModel) -> dict[str, torch.Tensor]:
    """Three texts of 40, 25 and 12 random tokens, padded."""
    generator, pad = torch.Generator().manual_seed(0), pad_of(model.config)
    ids = torch.randint(5, 90, (3, 40), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate((40, 25, 12)):
        ids[row, length:], mask[row, length:] = pad, 0
    return {"input_ids": ids, "attention_mask": mask}


def expected(reference: Any, head: str, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """What transformers says, in the form of `Output.logits`."""
    kind, real = TASK_TYPES[head], batch["attention_mask"].bool()[..., None]
    with torch.no_grad():
        said = reference(**batch)
    if kind.outputs == ("start_logits", "end_logits"):
        logits = torch.stack([said.start_logits, said.end_logits], -1)
    elif kind.ending == "Model":
        states = said.last_hidden_state
        return F.normalize((states * real).sum(1) / real.sum(1), dim=1)
    else:
        logits = said.logits
    return logits.masked_fill(~real, LOST) if kind.per_token else logits
