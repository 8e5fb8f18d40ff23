"""The stages of every kind of recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.recipe.stage import Stage

# The data that only later stages read does not matter to training.
TRAINS_ON = {"train", "titles", "version_2", "max_train_examples"}

_NAS = "compress.nas"

_AIMET = "compress.aimet.stages"

_NNCF = "compress.nncf.stages"

_TAUGHT = ("distill.apply", "distill.teacher", "distill.store_logits")


_BITS, _LEFT, _FLOAT = "quantize.reduce_range", "prune.excluded", "quantize.keep_float"

_TEXT = tuple(f"pretrain.{key}" for key in ("text", "text_config", "max_passages", "block_tokens"))

_DATA = tuple(f"dataset.{key}" for key in sorted(TRAINS_ON))

_SUPERNET = tuple(f"supernet.{key}" for key in ("checkpoint", "apply", "order", "order_blocks"))

STAGES: dict[str, dict[str, Stage]] = {
    "length_adaptive": {
        "teacher": Stage(
            "compress.learn.distill:teacher",
            ("model", "tokenizer", *_DATA, "finetune.max_length", "finetune.stride", *_TAUGHT),
            only_if="distill.apply",
        ),
        "finetune": Stage(
            "compress.learn.finetune:run",
            ("model", "tokenizer", "dataset", "finetune", "distill", "training"),
            spread=True,
        ),
        "length_drop": Stage(
            "compress.learn.length_drop:run", ("dataset", "length_drop", "distill", "training"), spread=True
        ),
        "average": Stage("compress.learn.average:run", ("average",)),
        "search": Stage("compress.learn.length_search:run", ("dataset", "search", "quantize", "evaluate.engine")),
        "quantize": Stage("compress.int8.quantize:run", ("quantize",)),
        "evaluate": Stage("compress.results.evaluate:run", ("dataset", "evaluate")),
        "package": Stage("compress.results.package:run", ("package", "evaluate")),
    },
    "quantize": {
        "quantize": Stage(
            "compress.int8.stage:run",
            ("model", "dataset.train", "dataset.titles", "reading", "budgets", "quantize", "criterion", "seed"),
        ),
        "evaluate": Stage("compress.results.evaluate:run", ("dataset", "reading", "evaluate", "seed")),
        "package": Stage("compress.results.quantized:package", ("package", "evaluate")),
    },
    "train": {
        "teacher": Stage(
            "compress.learn.train:teacher",
            ("model", "tokenizer", *_DATA, "finetune.max_length", "finetune.stride", *_TAUGHT),
        ),
        "train": Stage(
            "compress.learn.train:run",
            ("model", "tokenizer", "dataset", "finetune", "prune", "distill", "aware", _BITS, "training"),
            spread=True,
        ),
        "quantize": Stage("compress.int8.stage:run", ("dataset", "budgets", "quantize", "criterion", "aware")),
        "evaluate": Stage("compress.results.evaluate:run", ("dataset", "evaluate")),
        "package": Stage("compress.results.package:run", ("package", "evaluate")),
    },
    "prune_once": {
        "text": Stage("compress.learn.pretrain_text:run", ("model", "tokenizer", *_TEXT)),
        "pretrain": Stage(
            "compress.learn.pretrain:run", ("model", "tokenizer", "pretrain", "prune", "training"), spread=True
        ),
        "teacher": Stage(
            "compress.learn.distill:teacher",
            ("model", "tokenizer", *_DATA, "lock.max_length", "lock.stride", *_TAUGHT),
        ),
        "lock": Stage("compress.learn.prune_once:lock", ("dataset", "lock", "distill", _LEFT, "training"), spread=True),
        "aware": Stage(
            "compress.learn.prune_once:aware", ("dataset", "aware", "distill", _BITS, _LEFT, "training"), spread=True
        ),
        "quantize": Stage("compress.int8.stage:run", ("dataset", "budgets", "quantize", "criterion", "aware")),
        "evaluate": Stage("compress.results.evaluate:run", ("dataset", "evaluate")),
        "package": Stage("compress.results.package:run", ("package", "evaluate")),
    },
    "nncf": {
        "finetune": Stage(f"{_NNCF}:finetune", ("model", "tokenizer", "dataset", "finetune", "training"), spread=True),
        "teacher": Stage(f"{_NNCF}:teacher", (*_DATA, "finetune.max_length", "finetune.stride", *_TAUGHT)),
        "nncf": Stage(
            f"{_NNCF}:run", ("dataset", "nncf_config", "nncf", "tune", "distill", "control", "training"), spread=True
        ),
        "quantize": Stage(f"{_NNCF}:quantize", ()),
        "evaluate": Stage(f"{_NNCF}:run_evaluate", ("dataset", "evaluate")),
        "package": Stage(f"{_NNCF}:run_package", ("package", "evaluate")),
    },
    "aimet_w8a8": {
        "finetune": Stage(f"{_AIMET}:finetune", ("model", "tokenizer", "dataset", "finetune", "training"), spread=True),
        "aimet": Stage(f"{_AIMET}:aimet", ("dataset", "aimet", _BITS, _FLOAT, "training"), spread=True),
        "quantize": Stage(f"{_AIMET}:quantize", ("quantize",)),
        "evaluate": Stage(f"{_AIMET}:evaluate", ("dataset", "evaluate")),
        "package": Stage(f"{_AIMET}:package", ("package", "evaluate")),
    },
    "nas": {
        "generate_data": Stage("compress.learn.shards:run", ("model", "tokenizer", "generate_data", *_SUPERNET[:3])),
        "order": Stage(f"{_NAS}.ordering:run", ("model", "tokenizer", "space", "training", *_SUPERNET)),
        "supernet": Stage(
            f"{_NAS}.supernet_train:run", ("model", "tokenizer", "space", "supernet", "training"), spread=True
        ),
        "tune": Stage(
            f"{_NAS}.supernet_tune:run", ("space", "dataset", "tune", "training", "search.scoring"), spread=True
        ),
        "latency_table": Stage(
            f"{_NAS}.latency_table:run", ("space", "latency_table", "dataset.task", "quantize.approach", _FLOAT)
        ),
        "predictor": Stage(f"{_NAS}.predictor:run", ("predictor",)),
        "search": Stage(f"{_NAS}.search:run", ("dataset", "space", "search", "quantize", "finetune", "training")),
        "finetune": Stage(f"{_NAS}.finish:finetune", ("dataset", "finetune", "training")),
        "quantize": Stage("compress.int8.stage:run", ("dataset", "quantize", "criterion")),
        "evaluate": Stage(f"{_NAS}.finish:evaluate", ("dataset", "evaluate")),
        "package": Stage("compress.results.package:run", ("package", "evaluate")),
    },
}


def stages_of(kind: str, settings: Mapping[str, Any]) -> dict[str, Stage]:
    """The stages of a run by name, in their order.

    Args:
        kind: of the recipe.
        settings: the recipe's, as of `recipe.yaml`.
    """

    def wanted(stage: Stage) -> bool:
        value: Any = settings
        for key in filter(None, stage.only_if.split(".")):
            value = value.get(key) or {}
        return bool(value) or not stage.only_if

    return {name: stage for name, stage in STAGES[kind].items() if wanted(stage)}
