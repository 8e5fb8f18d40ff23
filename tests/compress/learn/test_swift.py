"""What makes a training fast changes nothing of what it learns: on real sentences, with our operators and torch's."""

from __future__ import annotations

import statistics

import torch

from compress.learn.loop import Run, Schedule
from compress.tasks.subjects import subject_for
from zoo import attention, dropout, layers
from zoo.catalog import checkpoint_of
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import TEXTS

STEPS, BATCH, LAST = 200, 16, 50


def test_the_loss_after_200_steps_is_that_of_torchs_own_operators(data, tmp_path, monkeypatch):
    """All start alike and see the same batches; another draw of the dropout says how much is chance."""
    folder, subject = checkpoint_of("minilm-l6-qa"), subject_for("sst2", 32)
    tokenizer = load_tokenizer(folder)
    rows = subject.samples(tokenizer, subject.read(str(data / "glue/sst2/train.jsonl"))[: STEPS * BATCH])
    calls, own = [], layers.attention
    monkeypatch.setattr(layers, "attention", lambda *given: calls.append(1) or own(*given))

    def losses(skipped=0):
        torch.manual_seed(0)
        model = LengthAdaptiveModel.load(folder, TEXTS, 0.1, id2label={"0": "no", "1": "yes"}, num_hidden_layers=2)
        plan = Schedule(learning_rate=2e-4, epochs=1, batch_size=BATCH, precision="bf16", pad_id=tokenizer.pad_token_id)

        def loss(model, batch, chance):
            torch.rand(skipped)
            yield from subject.loss()(model, batch, chance)

        run = Run(model, rows, loss, plan, tmp_path)
        run.begin()
        told = []
        for _ in range(STEPS):
            before, step = run.loss, run.steps
            run.step(run.done())
            told.append((run.loss - 0.98 * before) / 0.02 if step else run.loss)
        return told

    ours, again = losses(), losses(1)
    assert len(calls) == 2 * 2 * STEPS
    for module in (attention, dropout):
        monkeypatch.setattr(module, "traced", lambda: True)
    plain = losses()
    assert len(calls) == 2 * 2 * STEPS
    first, last = (slice(0, LAST), slice(-LAST, None))
    ends = [statistics.mean(each[last]) for each in (ours, again, plain)]
    assert max(ends) < 0.8 * statistics.mean(plain[first]), "something was learned"
    chance = max(abs(ends[0] - ends[1]), 0.02)
    assert abs(statistics.mean(ends[:2]) - ends[2]) < 2 * chance, ends
