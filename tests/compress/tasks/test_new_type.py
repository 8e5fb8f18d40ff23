"""A type of task that is not here, lengths of words: a row, a task and a class, and all stages run with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from compress.data.intake import Intake
from compress.data.squad import Example
from compress.recipe.load import load
from compress.run.run import run
from compress.tasks.heads import Outputs, load_labelled
from compress.tasks.losses import plain, token_loss
from compress.tasks.samples import IGNORED, Loss, Sample
from compress.tasks.subject import Asked, Subject, Tell
from compress.tasks.subjects import subject_for
from zoo import catalog, torchvision_fix
from zoo.engines.base import Engine
from zoo.features import Tokenizer, Window, load_tokenizer, make_texts, pad
from zoo.files import read_json
from zoo.lengths import Lengths
from zoo.modeling import LengthAdaptiveModel
from zoo.opened import run_all
from zoo.task_types import TASK_TYPES, TaskType
from zoo.tasks import TASKS, Task

WORDS = "the and of in is lake deep chess queen"

# The rows
TYPE = TaskType(
    "tagging",
    "labels of words",
    "tags",
    "ForLabelsOfWords",
    "token-classification",
    padded=32,
    layers=("classifier",),
    reads="every",
    compared=4,
)
TASK = Task("long_words", ("text",), ("short", "long"), ("accuracy",), "accuracy", title="Long words", type=TYPE)


class Tags(Subject[str]):
    """The file: lines of text, of whose words those of four letters or more are long."""

    @classmethod
    def task_of(cls, entry: str, config: Mapping[str, Any], asked: Asked) -> Task:
        return TASK

    def read(self, source: str, intake: Intake | None = None) -> list[str]:
        return Path(source).read_text(encoding="utf-8").splitlines()

    def of_split(self, split: str, intake: Intake) -> list[str]:
        return self.read(getattr(self.recipe.dataset, split), intake)

    def windows(self, tokenizer: Tokenizer, examples: Sequence[str]) -> list[Window]:
        return make_texts(tokenizer, examples, None, self.reading.max_length)

    def samples(self, tokenizer: Tokenizer, examples: Sequence[str]) -> list[Sample]:
        windows = self.windows(tokenizer, examples)
        return [
            Sample(w, label=labels(w, text), key=str(i))
            for i, (w, text) in enumerate(zip(windows, examples, strict=True))
        ]

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Loss:
        return plain(self.loss_of)

    def loss_of(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return token_loss(logits, batch["label"])

    def load_model(
        self, folder: Path | str, dropout: float = 0.0, new_head: bool = True, **overrides: Any
    ) -> LengthAdaptiveModel:
        return load_labelled(folder, Outputs(self.task, new=new_head), dropout, **overrides)

    def has_head(self, config: Mapping[str, Any]) -> bool:
        return Outputs(self.task).is_of(config)

    def score(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        examples: Sequence[str],
        config: Lengths | None = None,
        progress: Tell | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        windows, hits, total = self.windows(tokenizer, examples), 0, 0
        for places, out in run_all(engine, windows, config, progress):
            for place, logits in zip(places, out.logits, strict=True):
                wanted = np.array(labels(windows[place], examples[place]))
                hits += int((logits.argmax(-1) == wanted)[wanted != IGNORED].sum())
                total += int((wanted != IGNORED).sum())
        return {"accuracy": 100 * hits / total, "n": len(examples)}

    def passages(self, examples: Sequence[str]) -> list[Example]:
        return [Example(text, "", text) for text in examples]


def labels(window: Window, text: str) -> tuple[int, ...]:
    """A class for each token: of the word that it is of."""
    ends = [IGNORED if o is None else int(len(text[: o[1]].split()[-1]) > 3) for o in window.offsets]
    return tuple(ends)


@pytest.fixture
def new_type(monkeypatch):
    module = ModuleType("compress.tasks.tags")
    module.Tags = Tags  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "compress.tasks.tags", module)
    monkeypatch.setitem(TASK_TYPES, TYPE.name, TYPE)
    monkeypatch.setitem(TASKS, TASK.name, TASK)


@pytest.mark.usefixtures("new_type", "own_home")
def test_a_new_type_is_trained_quantized_scored_and_packaged(tiny_model, tmp_path):
    chance = np.random.default_rng(0)
    for part, count in (("train", 32), ("validation", 4), ("evaluation", 8)):
        lines = [" ".join(chance.choice(WORDS.split(), 6)) + f" {part}" for _ in range(count)]
        (tmp_path / f"{part}.txt").write_text("\n".join(lines), encoding="utf-8")
    changes = {
        **{f"dataset.{part}": tmp_path / f"{part}.txt" for part in ("train", "validation", "evaluation")},
        **{
            "model": tiny_model,
            "dataset.task": TASK.name,
            "package.name": "tagger",
            "finetune.epochs": 4,
            "finetune.batch_size": 8,
        },
        **{"finetune.learning_rate": 1e-2, "distill.apply": False, "prune.apply": False, "aware.apply": False},
        **{"evaluate.latency_rounds": 1, "dataset.titles": "null", "dataset.validation_titles": "null"},
        **{"dataset.evaluation_titles": "null", "evaluate.dataset_name": "words"},
    }
    run(load("train_tiny", [f"{key}={value}" for key, value in changes.items()]), tmp_path / "run")

    scores = read_json(tmp_path / "run/evaluate/scores.json")
    assert scores["float"]["accuracy"] > 60 and abs(scores["int8"]["accuracy"] - scores["float"]["accuracy"]) < 10
    assert (scores["measured_on"]["metric"], scores["measured_on"]["task"]) == ("Long words", "long_words")
    entries = [catalog.find(str(tmp_path / "run/package" / name)) for name in ("tagger", "tagger-int8")]
    assert [(entry.task, entry.labels) for entry in entries] == [("tagging", ["short", "long"])] * 2
    assert "pipeline_tag: token-classification" in entries[1].card

    torchvision_fix.mend()
    from transformers import AutoModelForTokenClassification

    folder, text = entries[0].folder, "the lake is deep"
    windows = subject_for(TASK.name).windows(load_tokenizer(folder), [text])
    batch = {key: torch.from_numpy(value) for key, value in pad(windows).items()}
    theirs = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(LengthAdaptiveModel.load(folder)(**batch).logits, theirs(**batch).logits)
