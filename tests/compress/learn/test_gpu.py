"""Trainings on a device of their own: what can be seen without a GPU, and with one where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from compress.aimet import backend
from compress.learn import loop, precision
from compress.learn.finetune import schedule_of
from compress.learn.loop import Hook, Run, Schedule, split, train
from compress.learn.precision import best_precision, computing
from compress.learn.student import Workplace
from compress.progress import Progress
from compress.recipe.groups import Learning
from compress.recipe.load import load
from compress.tasks.losses import span
from tests.compress.training_kit import Interrupting, Stop, windows
from zoo import devices
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import pad
from zoo.latency import Timing
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.recompute import Recomputable, set_recompute
from zoo.settings import get_settings

PLAN = Schedule(learning_rate=1e-3, epochs=1, batch_size=8, seed=3, precision="fp32", average=0.9, keep_start=0.1)
QUIET = Progress(None, "train", bar=False)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().cpu().flatten() for p in model.parameters()])


class Elsewhere:
    """Accelerate's side of a training on a device where nothing has values, which a tensor left behind would show."""

    num_processes, process_index, device = 1, 0, torch.device("meta")

    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, **settings: Any):
        type(self).settings = settings


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "Accelerator", Elsewhere)
    monkeypatch.setattr(loop, "computing", lambda wish, device: torch.autocast("cpu", enabled=False))


def test_everything_of_a_training_lives_where_the_model_does(tiny_model, tmp_path, monkeypatch):
    with pytest.raises(Stop):
        often, stopped = replace(PLAN, checkpoint_minutes=0), Interrupting(tmp_path / "p.jsonl", 2)
        train(LengthAdaptiveModel.load(tiny_model), windows(), span(), often, tmp_path, stopped)
    elsewhere(monkeypatch)
    run = Run(LengthAdaptiveModel.load(tiny_model), windows(), span(), PLAN, tmp_path)
    assert run.resume() and run.steps > 0
    everything = [*run.model.parameters(), *run.averaged, *run.start]
    state = [value for values in run.optimizer.state.values() for value in values.values()]
    assert state and run.averaged and run.start
    assert {tensor.device.type for tensor in everything} == {"meta"}
    assert {value.device.type for value in state if value.ndim} == {"meta"}
    assert {value.device.type for value in run._batch().values()} == {"meta"}


def test_accelerate_is_told_which_device_computes(tiny_model, tmp_path, monkeypatch):
    for device, cpu in (("cpu", True), ("cuda", False)):
        elsewhere(monkeypatch)
        monkeypatch.setattr(loop, "compute_device", lambda device=device: device)
        Run(LengthAdaptiveModel.load(tiny_model), windows(8), span(), PLAN, tmp_path)
        assert Elsewhere.settings["cpu"] is cpu and Elsewhere.settings["mixed_precision"] == "no"


@pytest.mark.parametrize(
    ("device", "gpu", "cpu", "expected"),
    [
        ("cpu", True, False, "fp32"), ("cpu", False, True, "bf16"), ("cuda", True, False, "bf16"),
        ("cuda", False, True, "fp16"), ("cuda", False, False, "fp16"),
    ],
)  # fmt: skip
def test_precision_asks_the_device_that_computes(device, gpu, cpu, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: gpu or including_emulation)
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: cpu)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: cpu)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: cpu)
    assert best_precision("auto", device) == expected
    assert best_precision("fp32", device) == "fp32"


def test_fp16_is_for_gpus():
    with pytest.raises(UserError, match="fp16 is for GPUs, and this training computes on a CPU: set training"):
        computing("fp16", "cpu")


def test_fp16_is_scaled_and_goes_on_as_it_was(tiny_model, tmp_path, monkeypatch):
    """The CPU multiplies fp16, too, if slowly: here it stands in for a GPU without bf16."""
    monkeypatch.setattr(precision, "best_precision", lambda wish, device: "fp16")
    plan = replace(PLAN, epochs=2, batch_size=4, checkpoint_minutes=0)
    straight, broken, resumed = (LengthAdaptiveModel.load(tiny_model) for _ in range(3))
    result = train(straight, windows(), span(), plan, tmp_path / "a", QUIET)
    assert 0 < result["loss"] < 10 and weights(straight).isfinite().all()
    with pytest.raises(Stop):
        train(broken, windows(), span(), plan, tmp_path / "b", Interrupting(tmp_path / "b.jsonl", 5))
    (file,) = (tmp_path / "b" / "checkpoint").glob("step-*.pt")
    assert torch.load(file, weights_only=True)["scaler"]["scale"] > 1
    train(resumed, windows(), span(), plan, tmp_path / "b", QUIET)
    torch.testing.assert_close(weights(resumed), weights(straight), atol=1e-5, rtol=0)
    exact = LengthAdaptiveModel.load(tiny_model)
    monkeypatch.setattr(precision, "best_precision", lambda wish, device: "fp32")
    train(exact, windows(), span(), plan, tmp_path / "c", QUIET)
    assert (weights(exact) - weights(straight)).abs().mean() < 3e-4, "Adam moves each by 1e-3 a step"


def test_a_gradient_too_large_for_fp16_leaves_a_step_out(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "best_precision", lambda wish, device: "fp16")
    model = LengthAdaptiveModel.load(tiny_model)
    run = Run(model, windows(8), span(), replace(PLAN, average=0, keep_start=0), tmp_path)
    run.begin()
    before = weights(run.model)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=1e30)
    figures = run.step(0.0)
    assert weights(run.model).equal(before) and run.scaler.get_scale() < 1e30
    assert torch.tensor(figures["grad_norm"]).isfinite()


class Gradients(Hook):
    """Keeps the gradients of every step."""

    def __init__(self, model: torch.nn.Module):
        self.model, self.steps = model, list[torch.Tensor]()

    def after_backward(self, step: int, total: int) -> None:
        missing = (p.new_zeros(p.shape) if p.grad is None else p.grad for p in self.model.parameters())
        self.steps.append(torch.cat([gradient.flatten() for gradient in missing]).clone())


@pytest.mark.parametrize("parts", [2, 3, 50])
def test_parts_of_a_step_give_what_all_at_once_gives(parts, tiny_model, tmp_path):
    whole, cut = (LengthAdaptiveModel.load(tiny_model) for _ in range(2))
    hooks = [Gradients(model) for model in (whole, cut)]
    results = [
        train(model, windows(), span(), plan, tmp_path / name, QUIET, [hook])
        for model, plan, name, hook in ((whole, PLAN, "a", hooks[0]), (cut, replace(PLAN, parts=parts), "b", hooks[1]))
    ]
    torch.testing.assert_close(hooks[1].steps[0], hooks[0].steps[0], atol=1e-6, rtol=1e-3)
    # Adam makes a whole step of a gradient that is mere rounding, as those of the biases of keys are.
    real = torch.stack(hooks[0].steps).abs().amin(0) > 1e-5
    assert real.float().mean() > 0.3
    torch.testing.assert_close(weights(cut)[real], weights(whole)[real], atol=1e-5, rtol=0)
    assert results[0]["steps"] == results[1]["steps"] == len(hooks[1].steps)
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-3)


def test_the_parts_of_a_batch_are_all_of_it_with_their_shares():
    batch = {"row": torch.arange(7), "x": torch.arange(14).view(7, 2)}
    parts = list(split(batch, 3))
    assert [len(part["row"]) for part, _ in parts] == [3, 3, 1] and sum(share for _, share in parts) == pytest.approx(1)
    assert torch.cat([part["x"] for part, _ in parts]).equal(batch["x"])


def test_layers_computed_again_have_the_same_gradients_and_keep_less(tiny_model):
    batch = {key: torch.from_numpy(value) for key, value in pad([row.window for row in windows(8)], 0).items()}
    lengths = torch.tensor([[12, 6]] * 8)
    gradients, kept = [], []
    for again in (False, True):
        model, held = LengthAdaptiveModel.load(tiny_model, dropout=0.2).train(), []
        if again:
            set_recompute(model)
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, held=held: held.append(x.numel()) or x, lambda x: x):
            value = model(**batch, lengths=lengths, scored=True).logits.clamp_min(-100).square().mean()
        value.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        kept.append(sum(held))
    torch.testing.assert_close(gradients[1], gradients[0], atol=0, rtol=0)
    assert kept[1] < 0.6 * kept[0]


def test_nncf_refuses_layers_that_would_be_computed_without_its_rounding():
    with pytest.raises(UserError, match="gradient_checkpointing is not for tune: .* Raise training.gradient_accum"):
        load("nncf_tiny", ["training.gradient_checkpointing=true"])
    load("nncf_tiny", ["training.gradient_checkpointing=true", "tune.apply=false", "distill.apply=false"])


def test_other_models_compute_their_layers_again_too(tiny_model):
    backend.load()  # a bare import fails where torchvision is not installed
    from compress.aimet.simulable import Simulable
    from compress.learn.masked_lm import MaskedLanguageModel

    batch = {key: torch.from_numpy(value) for key, value in pad([row.window for row in windows(4)], 0).items()}
    ids, alive = batch["input_ids"], batch["attention_mask"]
    plain = partial(LengthAdaptiveModel.load, tiny_model, dropout=0.1)
    models: list[tuple[Callable[[], Any], Callable[[Any], torch.Tensor]]] = [
        (lambda: MaskedLanguageModel(plain()), lambda m: m(ids, alive, None)[0]),
        (lambda: Simulable(plain(), False), lambda m: m(**batch)),
        (lambda: Simulable(plain(), True), lambda m: m(**batch)),
    ]
    for make, run in models:
        gradients: list[torch.Tensor] = []
        for again in (False, True):
            torch.manual_seed(1)
            model = make().train()
            if again:
                set_recompute(model)
            torch.manual_seed(2)
            run(model).square().mean().backward()
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        torch.testing.assert_close(gradients[1], gradients[0], atol=0, rtol=0)


def test_a_training_hears_both_keys_and_ends_as_without(tiny_model, tmp_path, monkeypatch):
    runs: list[int] = []
    plain = Recomputable.run

    def counted(self: Any, call: Any, *args: Any) -> Any:
        runs.append(self.recompute)
        return plain(self, call, *args)

    monkeypatch.setattr(Recomputable, "run", counted)
    whole, again = (LengthAdaptiveModel.load(tiny_model, dropout=0.1) for _ in range(2))
    train(whole, windows(), span(), PLAN, tmp_path / "a", QUIET)
    assert not any(runs)
    runs.clear()
    train(again, windows(), span(), replace(PLAN, recompute=True), tmp_path / "b", QUIET)
    assert runs and all(runs)
    torch.testing.assert_close(weights(again), weights(whole), atol=1e-6, rtol=0)


def test_a_model_without_such_layers_says_so():
    with pytest.raises(UserError, match="cannot be computed again: set training.gradient_checkpointing to false"):
        set_recompute(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    "name", ["length_adaptive", "train_tiny", "prune_once_tiny", "aimet_w8a8", "nncf_tiny", "nas_tiny"]
)
def test_every_recipe_that_trains_has_the_keys(name):
    keys = ("gradient_accumulation=4", "gradient_checkpointing=false", "precision=fp16")
    recipe: Any = load(name, [f"training.{key}" for key in keys])
    plan = schedule_of(Workplace(recipe.training, Path("x"), QUIET), Learning())
    assert (plan.parts, plan.recompute, plan.precision) == (4, False, "fp16")


def test_the_settings_choose_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices, "DRIVERS", (devices.Path("/"),))
    found = {}
    for wish in ("auto", "cpu", "cuda"):
        monkeypatch.setenv("BUDGET_ZOO_DEVICE", wish)
        get_settings.cache_clear()
        found[wish] = devices.compute_device()
    assert found == {"auto": "cuda", "cpu": "cpu", "cuda": "cuda"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="BUDGET_ZOO_DEVICE is cuda, and torch finds no GPU"):
        devices.compute_device()


def test_the_page_names_the_gpu_of_each_figure(monkeypatch):
    from ui import text
    from zoo import measuring

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Chip {device}")
    monkeypatch.setattr(measuring, "time_in_turn", lambda calls, _progress: (timings(calls), False))
    here, there = (SimpleNamespace(engine=SimpleNamespace(device=device), tokens=[9]) for device in ("cpu", "cuda"))
    measured = measuring.measure({"full": here, "budget": here, "float": there})  # type: ignore[dict-item]
    assert measured.gpus == {"float": "Chip cuda"}
    shown = text.show_latency(measured, "onnxruntime")
    assert "| fp32, full length (PyTorch) on Chip cuda |" in shown and shown.count("Chip") == 1


def timings(names: Any) -> dict[str, Timing]:
    return {name: Timing.from_samples([1.0, 2.0, 3.0]) for name in names}


@needs_gpu
def test_a_gpu_trains_goes_on_and_answers_as_the_cpu_does(tiny_model, tmp_path, monkeypatch):
    """Not run where this was written: there was no GPU."""
    plan = replace(PLAN, epochs=2, batch_size=4, checkpoint_minutes=0)
    found = {}
    for device in ("cpu", "cuda"):
        monkeypatch.setenv("BUDGET_ZOO_DEVICE", device)
        get_settings.cache_clear()
        model = LengthAdaptiveModel.load(tiny_model)
        with pytest.raises(Stop):
            train(model, windows(), span(), plan, tmp_path / device, Interrupting(tmp_path / f"{device}.jsonl", 5))
        model = LengthAdaptiveModel.load(tiny_model)
        train(model, windows(), span(), plan, tmp_path / device, QUIET)
        model.save(tmp_path / f"{device}-model")
        engine = TorchEngine.open(tmp_path / f"{device}-model", 1)
        batch = pad([windows(1)[0].window])
        lengths = LengthConfig.full(2).tokens(int(batch["attention_mask"].sum()))
        assert engine.device == device and bool(devices.gpu_of(engine)) == (device == "cuda")
        found[device] = weights(model), engine.run(batch, np.array([lengths])).logits
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], atol=2e-3, rtol=0)
    torch.testing.assert_close(torch.tensor(found["cuda"][1]), torch.tensor(found["cpu"][1]), atol=5e-2, rtol=0)


@needs_gpu
@pytest.mark.parametrize("wish", ["auto", "bf16", "fp16"])
def test_a_gpu_trains_in_mixed_precision(wish, tiny_model, tmp_path):
    """Not run where this was written: there was no GPU."""
    model = LengthAdaptiveModel.load(tiny_model)
    result = train(model, windows(), span(), replace(PLAN, precision=wish, recompute=True, parts=2), tmp_path, QUIET)
    assert 0 < result["loss"] < 10 and weights(model).isfinite().all()
