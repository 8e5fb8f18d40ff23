"""The loss of distillation, and the stage that stores what a teacher says."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from compress.learn.distill import Guidance, LogitsRecorder, distillation, distilled, paired_layers
from compress.learn.distill import teacher as stage_teacher
from compress.learn.length_drop import Sandwich
from compress.learn.loop import Schedule, computing, train
from compress.learn.student import Student
from compress.learn.teacher import Teacher, TeacherLogits
from compress.progress import Progress
from compress.recipe.groups import Dataset, Learning, Training
from compress.recipe.length_groups import LengthDrop
from compress.recipe.stage import StageContext
from compress.recipe.train import TrainRecipe
from compress.recipe.training_groups import Distill
from compress.tasks.losses import divergence, span
from compress.tasks.samples import collate
from tests.compress import recipe_kit
from tests.compress.learn.distill_kit import disturbed, question_samples
from zoo.errors import UserError
from zoo.families import FAMILIES
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import LOST, QUESTIONS, TEXTS, TOKENS


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


@pytest.fixture(scope="module")
def data(tokenizer, tiny_data):
    return question_samples(tokenizer, tiny_data.train)


@pytest.fixture
def student(tiny_model):
    return LengthAdaptiveModel.load(tiny_model)


@pytest.fixture
def guide(tiny_model):
    return Teacher(disturbed(LengthAdaptiveModel.load(tiny_model), 1))


def batch_of(data, rows):
    return {**collate([data[i] for i in rows], 0), "row": torch.tensor(rows)}


def first(loss, model, batch):
    return next(loss(model, batch, random.Random(0)))


def told(settings, student, guide, batch):
    return first(distilled(span(), settings, student, guide), student, batch)[1]


def reference(student, teacher, alive, temperature):
    """KL by its definition, over real tokens only, row by row."""
    found = []
    for row in range(len(student)):
        for side in (0, 1):
            p = (teacher[row, alive[row], side] / temperature).softmax(0)
            q = (student[row, alive[row], side] / temperature).softmax(0)
            found.append((p * (p / q).log()).sum())
    return temperature**2 * torch.stack(found).mean()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 100.0])
def test_the_divergence_is_that_of_the_teacher_over_real_tokens(temperature):
    torch.manual_seed(0)
    mine, theirs = 5 * torch.randn(3, 7, 2), 5 * torch.randn(3, 7, 2)
    alive = torch.arange(7)[None] < torch.tensor([[7], [4], [2]])
    padded = [logits.masked_fill(~alive[..., None], LOST) for logits in (mine, theirs)]
    found = divergence(padded[0], padded[1], QUESTIONS, temperature)
    torch.testing.assert_close(found, reference(mine, theirs, alive, temperature), atol=1e-5, rtol=1e-4)
    assert divergence(padded[1], padded[1], QUESTIONS, temperature) == 0


def test_classes_and_scores_are_compared_too():
    mine, theirs = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[3.0, 0.0, 1.0]])
    p, q = (theirs / 2).softmax(1), (mine / 2).softmax(1)
    torch.testing.assert_close(divergence(mine, theirs, TEXTS, 2), 4 * (p * (p / q).log()).sum())
    torch.testing.assert_close(divergence(torch.tensor([[1.0]]), torch.tensor([[3.0]]), TEXTS, 2), torch.tensor(4.0))


def test_labels_of_which_several_hold_are_each_a_distribution(monkeypatch):
    """By none of the functions that autocast refuses on a GPU."""
    monkeypatch.setattr(torch.nn.functional, "binary_cross_entropy", None)
    several = replace(TEXTS, spread="each")
    mine, theirs = torch.tensor([[1.0, -2.0], [0.5, 0.0]]), torch.tensor([[3.0, 0.0], [-1.0, 90.0]])
    p, q = (theirs.double() / 2).sigmoid(), (mine.double() / 2).sigmoid()
    far = p * (p / q).log() + torch.where(p < 1, (1 - p) * ((1 - p) / (1 - q)).log(), 0)
    torch.testing.assert_close(divergence(mine, theirs, several, 2), (4 * far.sum(1).mean()).float())
    assert divergence(theirs, theirs, several, 2) == 0


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_labels_of_tokens_are_a_distribution_for_each_real_token(temperature):
    torch.manual_seed(0)
    mine, theirs = 5 * torch.randn(3, 7, 2), 5 * torch.randn(3, 7, 2)  # two labels: in shape like start and end
    alive = torch.arange(7)[None] < torch.tensor([[7], [4], [2]])
    p, q = ((each[alive] / temperature).softmax(-1) for each in (theirs, mine))
    expected = temperature**2 * (p * (p / q).log()).sum(-1).mean()
    padded = [logits.masked_fill(~alive[..., None], LOST) for logits in (mine, theirs)]
    torch.testing.assert_close(divergence(padded[0], padded[1], TOKENS, temperature), expected, atol=1e-5, rtol=1e-4)
    assert divergence(padded[1], padded[1], TOKENS, temperature) == 0


def test_the_loss_is_the_weighted_mean_of_its_parts(student, guide, data):
    batch = batch_of(data, [0, 5, 30])
    settings = Distill(apply=True, store_logits=False, label_weight=1, teacher_weight=3, temperature=4)
    parts = told(settings, student, guide, batch)
    assert parts["loss"] == pytest.approx((parts["task_loss"] + 3 * parts["teacher_loss"]) / 4, rel=1e-5)
    task = first(span(), student, batch)[0].item()
    assert parts["task_loss"] == pytest.approx(task, rel=1e-6)
    alone = told(Distill(apply=True, label_weight=0, teacher_weight=2, temperature=4), student, guide, batch)
    assert alone["loss"] == pytest.approx(parts["teacher_loss"], rel=1e-6)
    everything = Distill(
        apply=True, store_logits=False, label_weight=1, hidden_weight=2, attention_weight=5, layers="all"
    )
    parts = told(everything, student, guide, batch)
    total = sum(w * parts[f"{k}_loss"] for k, w in {"task": 1, "teacher": 1, "hidden": 2, "attention": 5}.items())
    assert parts["loss"] == pytest.approx(total / 9, rel=1e-5) and parts["hidden_loss"] > 0 < parts["attention_loss"]
    own = told(everything, student, Teacher(copy.deepcopy(student)), batch)
    assert max(own[key] for key in ("teacher_loss", "hidden_loss", "attention_loss")) < 1e-6


def test_a_teacher_weighs_the_same_however_many_passes_a_step_has(student, guide, data):
    batch = batch_of(data, [0, 5, 30])
    drop = LengthDrop(num_sandwich=1, length_drop_ratio_bound=0.5, layer_dropout_prob=0.0)
    task = Sandwich.of(drop, student)
    only = Distill(apply=True, label_weight=0, temperature=4)
    told = [told for _, told in distilled(task, only, student, guide, 3)(student, batch, random.Random(0))]
    assert sum(each["loss"] for each in told) == pytest.approx(sum(each["teacher_loss"] for each in told) / 3, rel=1e-5)
    both = Distill(apply=True, label_weight=1, teacher_weight=3, temperature=4)
    told = [told for _, told in distilled(task, both, student, guide, 3)(student, batch, random.Random(0))]
    parts = [each["task_loss"] + each["teacher_loss"] for each in told]  # three quarters of a third: a quarter
    assert [each["loss"] for each in told] == pytest.approx([part / 4 for part in parts], rel=1e-5)


def test_padding_changes_nothing(student, guide, data):
    settings = Distill(
        apply=True, store_logits=False, label_weight=0, teacher_weight=1, hidden_weight=1, attention_weight=1
    )
    rows = sorted(range(len(data)), key=lambda i: len(data[i].window.input_ids))
    short, long = rows[0], rows[-1]
    assert len(data[short].window.input_ids) < len(data[long].window.input_ids)
    single = [told(settings, student, guide, batch_of(data, [row])) for row in (short, long)]
    both = told(settings, student, guide, batch_of(data, [short, long]))
    assert both["teacher_loss"] == pytest.approx(sum(s["teacher_loss"] for s in single) / 2, rel=1e-4)
    counts = [len(data[row].window.input_ids) for row in (short, long)]
    for key in ("hidden_loss", "attention_loss"):  # means over tokens
        mean = sum(n * s[key] for n, s in zip(counts, single, strict=True)) / sum(counts)
        assert both[key] == pytest.approx(mean, rel=1e-4)


def test_only_the_student_learns_and_nothing_of_the_teacher_is_kept(student, guide, data, tmp_path):
    settings = Distill(apply=True, store_logits=False, hidden_weight=1, attention_weight=1, layers="all")
    fixed = copy.deepcopy(guide.model.state_dict())
    start = told(settings, student, guide, batch_of(data, [0, 9, 20]))
    loss = distilled(span(), settings, student, guide)
    plan = Schedule(learning_rate=2e-3, epochs=3, batch_size=8, precision="fp32")
    train(student, data, loss, plan, tmp_path, Progress(None, "train", shown=False))
    end = told(settings, student, guide, batch_of(data, [0, 9, 20]))
    assert all(end[f"{key}_loss"] < 0.8 * start[f"{key}_loss"] for key in ("teacher", "hidden", "attention"))
    assert all(value.equal(fixed[key]) for key, value in guide.model.state_dict().items())
    assert all(p.grad is None for p in guide.model.parameters())
    saved = torch.load(next((tmp_path / "checkpoint").glob("*.pt")), weights_only=True)
    assert set(saved["model"]) == set(student.state_dict())
    assert not any(module._forward_hooks for module in [*student.modules(), *guide.model.modules()])


def test_layers_are_paired_by_depth(tiny_model, student):
    twelve, six = (
        SimpleNamespace(shape=SimpleNamespace(layers=n, hidden=8), blocks=student.blocks, row=student.row)
        for n in (12, 6)
    )
    assert paired_layers(six, twelve, "all", True, True) == [(0, 1), (1, 3), (2, 5), (3, 7), (4, 9), (5, 11)]  # type: ignore[arg-type]
    assert paired_layers(twelve, six, "all", True, True)[:4] == [(0, 0), (1, 0), (2, 1), (3, 1)]  # type: ignore[arg-type]
    assert paired_layers(six, twelve, "last", True, True) == [(5, 11)]  # type: ignore[arg-type]


def test_what_cannot_be_compared_is_refused(student, guide, data):
    wide = SimpleNamespace(shape=SimpleNamespace(layers=2, hidden=64), blocks=student.blocks)
    with pytest.raises(UserError, match=r"64 numbers \(the teacher's\) and 32"):
        paired_layers(student, wide, "last", True, False)  # type: ignore[arg-type]
    many = SimpleNamespace(shape=student.shape, blocks=[SimpleNamespace(heads=8)], row=student.row)
    with pytest.raises(UserError, match="8 heads"):
        paired_layers(student, many, "last", False, True)  # type: ignore[arg-type]
    assert paired_layers(student, many, "last", True, False)  # type: ignore[arg-type]
    turning = SimpleNamespace(shape=student.shape, blocks=student.blocks, row=FAMILIES["modernbert"])
    with pytest.raises(UserError, match="ModernBERT goes by rotary positions.*attention_weight to 0"):
        paired_layers(student, turning, "last", False, True)  # type: ignore[arg-type]
    bad = Distill(apply=True, store_logits=False, hidden_weight=1)
    with pytest.raises(UserError, match="store_logits to false"):
        distilled(span(), bad, student, object())  # type: ignore[arg-type]


def test_a_recorder_is_the_model(student, data):
    batch = batch_of(data, [0, 1])
    recorder = LogitsRecorder(student)
    out = recorder(batch["input_ids"], attention_mask=batch["attention_mask"])
    assert recorder.logits is out.logits


def context(tiny_model, teacher, train_file, folder: Path, **distill) -> StageContext[TrainRecipe]:
    recipe = TrainRecipe(
        model=str(tiny_model),
        dataset=Dataset(train=str(train_file), validation="examples", evaluation="examples"),
        finetune=Learning(max_length=128, stride=16),
        distill=Distill(apply=True, teacher=str(teacher) if teacher else None, **distill),
    )
    return recipe_kit.context(recipe, folder / "teacher")


def test_the_stage_stores_what_the_training_looks_up(tiny_model, tiny_data, student, tokenizer, tmp_path):
    from compress.tasks.subjects import training_samples

    teacher = tmp_path / "big-teacher"
    disturbed(LengthAdaptiveModel.load(tiny_model), 2).save(teacher)
    tokenizer.save_pretrained(str(teacher))
    ctx = context(tiny_model, teacher, tiny_data.train, tmp_path)
    ctx.recipe.training = Training(precision="fp32")
    facts = stage_teacher(ctx)
    data = training_samples(ctx.recipe, tokenizer, ctx.recipe.finetune)
    assert facts["samples"] == len(data) and facts["teacher"] == "big-teacher"
    assert facts["bytes"] == sum(8 * len(sample.window.input_ids) for sample in data)
    inputs, batch = {"teacher": ctx.folder}, batch_of(data, [4, 2, 7])
    guidance, learner = Guidance.of(ctx.recipe, inputs), Student(student, tokenizer, data)
    stored = first(distillation(guidance, span(), learner), student, batch)[1]
    ctx.recipe.distill = ctx.recipe.distill.model_copy(update={"store_logits": False})
    assert Guidance.of(ctx.recipe, inputs).stored is None
    live = first(distillation(Guidance.of(ctx.recipe, inputs), span(), learner), student, batch)[1]
    assert stored["loss"] == pytest.approx(live["loss"], rel=1e-5) and live["loss"] > 0.01

    ctx.recipe.distill = ctx.recipe.distill.model_copy(update={"store_logits": True, "teacher": None})
    with pytest.raises(UserError, match="another teacher"):
        distillation(Guidance.of(ctx.recipe, inputs), span(), learner)


def test_what_is_stored_is_computed_as_in_the_training(tiny_model, tiny_data, tokenizer, tmp_path):
    from compress.tasks.subjects import training_samples

    ctx = context(tiny_model, None, tiny_data.train, tmp_path)
    ctx.recipe.training = Training(precision="bf16")
    stage_teacher(ctx)
    data = training_samples(ctx.recipe, tokenizer, ctx.recipe.finetune)
    stored, batch = TeacherLogits(ctx.folder, data).lookup([4]), batch_of(data, [4])
    asked, far = Teacher(LengthAdaptiveModel.load(tiny_model)), {}
    for precision in ("bf16", "fp32"):
        with computing(precision, "cpu"):
            far[precision] = (asked(batch).logits.float() - stored).abs().max().item()
    assert 3 * far["bf16"] < far["fp32"]


def test_the_stage_does_nothing_without_distillation_and_refuses_before_work(tiny_model, tiny_data, tmp_path):
    ctx = context(tiny_model, None, tiny_data.train, tmp_path)
    ctx.recipe.distill = Distill()
    assert stage_teacher(ctx) == {} and not ctx.folder.exists()
    bare = tmp_path / "bare"
    model = LengthAdaptiveModel.load(tiny_model)
    model.config = {**model.config, "architectures": ["BertModel"]}
    model.save(bare)
    with pytest.raises(UserError, match="cannot be a teacher.*Set distill.teacher"):
        stage_teacher(context(tiny_model, bare, tiny_data.train, tmp_path))


def test_the_reference_of_torch_agrees():
    """The direction: KL(teacher || student), where torch's order of arguments is easily confused."""
    mine, theirs = torch.tensor([[[0.0, 0.0], [3.0, 0.0]]]), torch.tensor([[[0.0, 0.0], [0.0, 0.0]]])
    forward = F.kl_div(mine[..., 0].log_softmax(1), theirs[..., 0].softmax(1), reduction="sum") / 2
    backward = F.kl_div(theirs[..., 0].log_softmax(1), mine[..., 0].softmax(1), reduction="sum") / 2
    assert forward.item() != pytest.approx(backward.item(), rel=0.1)
    torch.testing.assert_close(divergence(mine, theirs, QUESTIONS), forward)
