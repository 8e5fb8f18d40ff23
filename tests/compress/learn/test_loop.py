from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.learn.finetune import mask_of, stage_seed
from compress.learn.loop import Hook, Schedule, hidden_words, train
from compress.learn.order import batches
from compress.learn.precision import best_precision
from compress.progress import Progress
from compress.tasks.losses import span
from compress.tasks.samples import collate, samples
from tests.compress.training_kit import Interrupting, Stop, windows
from zoo.dropping import WIDTH
from zoo.errors import UserError
from zoo.features import Window, each_window, load_tokenizer, make_windows
from zoo.modeling import LengthAdaptiveModel

ROOT = Path(__file__).parents[3]


def test_batches_are_bucketed_complete_and_repeatable():
    lengths = np.random.default_rng(0).integers(10, 384, 1000).tolist()
    first = batches(lengths, 16, seed=3, epoch=0)
    assert first == batches(lengths, 16, seed=3, epoch=0) != batches(lengths, 16, seed=3, epoch=1)
    assert sorted(i for batch in first for i in batch) == list(range(1000))
    lengths = np.random.default_rng(1).integers(10, 384, 16_000).tolist()
    widths = [-(-max(lengths[i] for i in batch) // WIDTH) * WIDTH for batch in batches(lengths, 16, seed=3, epoch=0)]
    assert 16 * sum(widths) < 1.05 * sum(lengths) and len(set(widths)) == 384 // WIDTH, "little padding, few widths"


def test_samples_leave_out_windows_that_lost_their_answer():
    seen = Window(0, [1] * 5, None, [None, (0, 4), (4, 8), (8, 12), None])
    assert [(s.start, s.end) for s in samples([seen], [(4, 12)])] == [(2, 3)]
    assert samples([seen], [(40, 44)]) == []
    assert [(s.start, s.end) for s in samples([seen], [None])] == [(0, 0)]


def test_collate_pads_to_the_longest():
    batch = collate(windows(3), pad_id=7)
    longest = max(len(s.window.input_ids) for s in windows(3))
    assert batch["input_ids"].shape == (3, longest) == batch["attention_mask"].shape
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 7).all()


def test_batches_come_in_few_widths(tiny_model, tmp_path):
    data, seen = windows(24), []

    def loss(model, batch, chance):
        seen.append((tuple(batch["input_ids"].shape), int(batch["attention_mask"].sum(1).max())))
        yield from span()(model, batch, chance)

    longest = max(len(sample.window.input_ids) for sample in data)
    assert longest % WIDTH, "the longest window is none of the widths"
    model = LengthAdaptiveModel.load(tiny_model)
    train(model, data, loss, Schedule(epochs=1, batch_size=2), tmp_path, Progress(None, "train", bar=False))
    assert len(seen) == 12 and {count % WIDTH for _, count in seen} != {0}
    for (rows, width), count in seen:
        assert rows == 2 and width == min(-(-count // WIDTH) * WIDTH, longest)


def test_a_sample_holds_a_few_bytes_a_token(tiny_model):
    tokenizer, passage = load_tokenizer(tiny_model), "the lake is deep " * 60
    tracemalloc.start()
    made = samples(each_window(tokenizer, ["where?"] * 200, [passage] * 200), [(4, 8)] * 200)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tokens = sum(len(sample.window.input_ids) for sample in made)
    assert tokens > 40_000 and held / tokens < 15, "ids and segments are five, places and Python's numbers would be 100"


def test_precision_follows_the_machine_unless_told():
    assert best_precision("fp32") == "fp32"
    assert best_precision("auto") in ("fp32", "bf16")


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def quiet_progress(folder: Path) -> Progress:
    return Progress(folder / "progress.jsonl", "finetune", bar=False)


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 1])
def test_the_learning_rate_is_that_of_a_linear_schedule(share):
    """Beside transformers', which begins its rise with a step at 0, where nothing would be learned."""
    from transformers import get_linear_schedule_with_warmup  # torchvision is mended by then

    schedule, total = Schedule(learning_rate=3e-4, warmup_ratio=share), 200
    ours = [schedule.rate(step / total, total) for step in range(total)]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=3e-4)
    theirs, rates = get_linear_schedule_with_warmup(optimizer, round(share * total), total), list[float]()
    for _ in range(total):
        rates.append(float(theirs.get_last_lr()[0]))
        optimizer.step()
        theirs.step()
    rise = round(share * total)
    assert ours[rise:] == pytest.approx(rates[rise:])
    assert ours[: max(rise - 1, 0)] == pytest.approx(rates[1:rise])
    assert max(ours) == pytest.approx(3e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(tiny_model, tmp_path, precision):
    plan = Schedule(learning_rate=1e-3, epochs=3, batch_size=4, seed=5, checkpoint_minutes=0, precision=precision)
    straight = LengthAdaptiveModel.load(tiny_model, dropout=0.1)
    before = weights(straight)
    quiet = Progress(tmp_path / "a.jsonl", "finetune", bar=False)
    told = train(straight, windows(), span(), plan, tmp_path / "a", quiet)
    assert told["steps"] == 18
    assert not weights(straight).equal(before)

    broken = LengthAdaptiveModel.load(tiny_model, dropout=0.1)
    with pytest.raises(Stop):
        train(broken, windows(), span(), plan, tmp_path / "b", Interrupting(tmp_path / "b.jsonl", 8))
    resumed = LengthAdaptiveModel.load(tiny_model, dropout=0.1)
    train(resumed, windows(), span(), plan, tmp_path / "b", Progress(tmp_path / "b.jsonl", "finetune", bar=False))
    torch.testing.assert_close(weights(resumed), weights(straight), atol=1e-6, rtol=0)
    (kept,) = (tmp_path / "b" / "checkpoint").glob("step-*.pt")
    groups = torch.load(kept, weights_only=True)["optimizer"]["param_groups"]
    assert set(groups[0]) == set(torch.optim.AdamW([torch.zeros(1)], fused=True).param_groups[0])  # nothing of ours
    assert "resumed at step" in (tmp_path / "b.jsonl").read_text()
    assert len(list((tmp_path / "b" / "checkpoint").glob("step-*.pt"))) == 1


def test_a_checkpoint_of_earlier_versions_goes_on(tiny_model, tmp_path):
    """Long trainings stand on this format: two files, these keys, two groups of parameters, nothing else of ours."""
    model, there = LengthAdaptiveModel.load(tiny_model), tmp_path / "checkpoint"
    groups = [[p for p in model.parameters() if (p.ndim > 1) == is_matrix] for is_matrix in (True, False)]
    decays = [{"params": group, "weight_decay": decay} for group, decay in zip(groups, (0.01, 0.0), strict=True)]
    optimizer = torch.optim.AdamW(decays, lr=1e-3, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    averaged = [parameter.detach().clone() for parameter in model.parameters()]
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "start": [], "averaged": averaged}
    there.mkdir()
    torch.save({**state, "hooks": [{}]}, there / "step-7.pt")
    (there / "state.json").write_text('{"step": 7, "file": "step-7.pt", "spent": 100.5, "loss": 3.0}')
    plan = Schedule(learning_rate=1e-3, epochs=3, batch_size=4, seed=5, average=0.9, precision="fp32")
    fresh = LengthAdaptiveModel.load(tiny_model)
    result = train(fresh, windows(), span(), plan, tmp_path, quiet_progress(tmp_path), hooks=[Hook()])
    assert "resumed at step 7 of 18" in (tmp_path / "progress.jsonl").read_text()
    assert result["steps"] == 18 and result["seconds"] > 100.5
    place = json.loads((there / "state.json").read_text())
    assert set(place) == {"step", "file", "spent", "loss"} and place["file"] == "step-18.pt"
    saved = torch.load(there / "step-18.pt", weights_only=True)
    assert set(saved) == {"model", "optimizer", "start", "averaged", "hooks"} and saved["hooks"] == [{}]
    assert [len(group["params"]) for group in saved["optimizer"]["param_groups"]] == [len(group) for group in groups]


def test_frozen_parameters_stay(tiny_model, tmp_path):
    model = LengthAdaptiveModel.load(tiny_model)
    model.words.requires_grad_(False)
    before = model.words.weight.clone()
    quiet = Progress(tmp_path / "p", "finetune", bar=False)
    train(model, windows(8), span(), Schedule(epochs=1, batch_size=4), tmp_path, quiet)
    assert model.words.weight.equal(before)


def test_some_parameters_may_learn_at_a_rate_of_their_own(tiny_model, tmp_path):
    model = LengthAdaptiveModel.load(tiny_model)
    layer = model.blocks[0].expand
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    rates = {"layers.0.expand.weight": 70.0, "layers.0.expand.bias": 0.25}
    plan = Schedule(1e-5, epochs=1, batch_size=8, warmup_ratio=0, precision="fp32", weight_decay=0.5, rates=rates)
    train(model, windows(8), span(), plan, tmp_path, Progress(None, "finetune", bar=False))
    # Adam's first step is as long as the learning rate, whatever the gradient; 64 is the power of two next to 70.
    assert (layer.weight.detach() - before["layers.0.expand.weight"]).abs().max() == pytest.approx(64e-5, rel=1e-2)
    assert (layer.bias.detach() - before["layers.0.expand.bias"]).abs().max() == pytest.approx(0.25e-5, rel=1e-2)
    moved = (model.blocks[1].expand.bias.detach() - before["layers.1.expand.bias"]).abs().max()
    assert moved == pytest.approx(1e-5, rel=1e-2)


def test_a_plan_in_minutes_ends_in_time(tiny_model, tmp_path):
    model = LengthAdaptiveModel.load(tiny_model)
    plan = Schedule(epochs=100_000, batch_size=4, minutes=0.02)
    begun = time.monotonic()
    told = train(model, windows(8), span(), plan, tmp_path, Progress(tmp_path / "p", "f", bar=False))
    assert 0 < told["steps"] < 200_000
    assert time.monotonic() - begun < 30


def test_a_training_may_end_with_the_average_of_its_weights_and_keep_some_of_the_start(tiny_model, tmp_path):
    class Watching(Hook):
        """Notes the weights after every step."""

        def __init__(self, model):
            self.model, self.seen = model, []

        def after_step(self, step, total):
            self.seen.append(weights(self.model).clone())

    def run(name, **changes):
        model = LengthAdaptiveModel.load(tiny_model)
        plan = Schedule(learning_rate=1e-3, epochs=2, batch_size=4, precision="fp32", **changes)
        watching = Watching(model)
        train(model, windows(), span(), plan, tmp_path / name, quiet_progress(tmp_path), hooks=[watching])
        return weights(model), watching.seen

    start = weights(LengthAdaptiveModel.load(tiny_model))
    last, seen = run("last")
    assert last.equal(seen[-1])
    mean = start
    for step, now in enumerate(seen):
        keep = min(0.9, step / (10 + step))
        mean = keep * mean + (1 - keep) * now
    torch.testing.assert_close(run("mean", average=0.9)[0], mean)
    torch.testing.assert_close(run("kept", keep_start=0.25)[0], 0.25 * start + 0.75 * last)


def test_an_interrupted_average_goes_on(tiny_model, tmp_path):
    plan = Schedule(learning_rate=1e-3, epochs=2, batch_size=4, checkpoint_minutes=0, average=0.9, keep_start=0.5)
    straight, broken, resumed = (LengthAdaptiveModel.load(tiny_model) for _ in range(3))
    train(straight, windows(), span(), plan, tmp_path / "a", quiet_progress(tmp_path))
    with pytest.raises(Stop):
        train(broken, windows(), span(), plan, tmp_path / "b", Interrupting(tmp_path / "b.jsonl", 8))
    train(resumed, windows(), span(), plan, tmp_path / "b", quiet_progress(tmp_path))
    torch.testing.assert_close(weights(resumed), weights(straight), atol=1e-6, rtol=0)


def test_hidden_words_are_a_share_of_all_but_the_special_ones():
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (200, 100))
    hidden = hidden_words(ids, Schedule(word_dropout=0.2, mask_id=99, special_ids=(3, 4)))
    changed = hidden != ids
    assert (hidden[changed] == 99).all() and not changed[(ids == 3) | (ids == 4)].any()
    assert changed[(ids != 3) & (ids != 4)].float().mean().item() == pytest.approx(0.2, abs=0.01)


def test_words_are_hidden_in_training_and_the_same_ones_after_a_resume(tiny_model, tmp_path):
    seen: list[torch.Tensor] = []

    def watch(model, batch, chance):
        seen.append(batch["input_ids"])
        yield from span()(model, batch, chance)

    plan = Schedule(epochs=1, batch_size=12, checkpoint_minutes=0, word_dropout=0.5, mask_id=1, special_ids=(0,))
    model = LengthAdaptiveModel.load(tiny_model)
    train(model, windows(), watch, plan, tmp_path / "a", quiet_progress(tmp_path))
    assert all(0.3 < (ids == 1).float().mean() < 0.7 for ids in seen)
    straight = seen.copy()
    with pytest.raises(Stop):
        train(model, windows(), watch, plan, tmp_path / "b", Interrupting(tmp_path / "p", 1))
    seen.clear()
    train(model, windows(), watch, plan, tmp_path / "b", quiet_progress(tmp_path))
    assert [ids.tolist() for ids in seen] == [ids.tolist() for ids in straight[-len(seen) :]]


def test_a_tokenizer_without_a_mask_token_is_told(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    assert mask_of(tokenizer) == tokenizer.get_vocab()["[MASK]"]
    tokenizer.mask_token_id = None
    with pytest.raises(UserError, match="word_dropout"):
        mask_of(tokenizer)


def test_hooks_are_called_in_turn_and_live_in_the_checkpoints(tiny_model, tmp_path):
    class Counting(Hook):
        def __init__(self):
            self.calls, self.steps = [], 0

        def before_step(self, step, total):
            self.calls.append(("before", step, total))

        def after_backward(self, step, total):
            self.calls.append(("backward", step, total))

        def after_step(self, step, total):
            self.steps += 1
            self.calls.append(("step", step, total))

        def finish(self):
            self.calls.append("finish")

        def state_dict(self):
            return {"steps": self.steps}

        def load_state_dict(self, state):
            self.steps = state["steps"]

    plan, model = Schedule(epochs=1, batch_size=12, checkpoint_minutes=0), LengthAdaptiveModel.load(tiny_model)
    first, again = Counting(), Counting()
    with pytest.raises(Stop):
        train(model, windows(), span(), plan, tmp_path, Interrupting(tmp_path / "p", 2), hooks=[first])
    assert first.calls == [(name, step, 2) for step in (0, 1) for name in ("before", "backward", "step")]
    train(model, windows(), span(), plan, tmp_path, quiet_progress(tmp_path), hooks=[again])
    # The second step was told of before it could be saved: it is made again.
    assert again.calls == [("before", 1, 2), ("backward", 1, 2), ("step", 1, 2), "finish"] and again.steps == 2


def test_windows_of_one_example_have_keys_of_their_own(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    text = "The river Nile flows through Egypt. " * 40
    made = make_windows(tokenizer, ["Where does the Nile flow?"], [text], 128, 32)
    keys = [row.key for row in samples(made, [None], ["q1"])]
    assert len(keys) > 2 and len(set(keys)) == len(keys) and keys[0] == "q1@0"


WORKER = """
import sys, torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from pathlib import Path
from zoo.modeling import LengthAdaptiveModel
from compress.learn.length_drop import Sandwich
from compress.progress import Progress
from compress.recipe.length_groups import LengthDrop
from compress.learn.loop import Schedule, train
from tests.compress.training_kit import windows
torch.manual_seed(0)
model = LengthAdaptiveModel.load(sys.argv[1])
data = [s for s in windows(16) for _ in range(2)]  # pairs of equal rows: each rank sees the same batch mean
data = sorted(data, key=lambda s: len(s.window.input_ids))
loss = Sandwich.of(LengthDrop(num_sandwich=1, layer_dropout_prob=0.0), model)
out = Path(sys.argv[2])
gradients = []
def keep(optimizer, args, kwargs):  # of the first step: later ones start from weights that Adam let drift apart
    if not gradients:
        gradients.append(torch.cat([p.grad.flatten() for g in optimizer.param_groups for p in g["params"]]))
        torch.save(gradients[0], out / "gradient.pt")
register_optimizer_step_pre_hook(keep)
train(model, data, loss, Schedule(learning_rate=1e-3, epochs=1, batch_size=8, seed=1, precision="fp32"), out,
      Progress(out / "progress.jsonl", "length_drop", bar=False))
"""


def test_two_processes_average_to_the_gradient_of_one(tiny_model, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    found = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        start = (
            ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
        )
        subprocess.run(
            [sys.executable, *start, str(tmp_path / "worker.py"), str(tiny_model), str(out)],
            env=env,
            check=True,
            timeout=240,
            capture_output=True,
        )
        found.append(torch.load(out / "gradient.pt"))
    assert found[0].abs().max() > 0.01
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_kill_in_the_middle_of_length_drop_resumes(tiny_model, tmp_path):
    """kill -9 of `python -m compress run` while it trains; the next call goes on from the last checkpoint."""
    folder = tmp_path / "run"
    options = ("length_drop.epochs=8", "training.checkpoint_minutes=0.002", f"model={tiny_model}")
    changes = [part for option in options for part in ("--set", option)]
    command = [sys.executable, "-m", "compress", "run", "length_adaptive_tiny", "--folder", str(folder), *changes]
    call = partial(subprocess.run, check=True, cwd=ROOT, timeout=240, capture_output=True)
    call([*command, "--stage", "finetune"])
    process = subprocess.Popen(
        [*command, "--stage", "length_drop"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    state = folder / "length_drop" / "checkpoint" / "state.json"
    deadline = time.monotonic() + 120
    while not state.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = json.loads(state.read_text())["step"]
    assert reached > 0
    call([*command, "--stage", "length_drop"])
    told = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    resumed = [line["note"] for line in told if "resumed at step" in line.get("note", "")]
    assert [int(note.split()[3]) for note in resumed] == [reached]
    assert (folder / "length_drop" / "model.safetensors").is_file()


def test_stages_do_not_share_a_data_order():
    seeds = {stage_seed(seed, stage) for seed in (0, 1) for stage in ("finetune", "length_drop")}
    assert len(seeds) == 4
    assert batches([10] * 64, 4, stage_seed(0, "finetune"), 0) != batches([10] * 64, 4, stage_seed(0, "length_drop"), 0)
