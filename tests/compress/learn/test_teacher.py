"""Teachers and what is stored of them."""

from __future__ import annotations

import copy
import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from compress.learn import teacher as teaching
from compress.learn.distill import distilled
from compress.learn.order import batches
from compress.learn.teacher import Teacher, TeacherLogits, check_fit, check_reading, mark_of, segments, teacher_for
from compress.progress import Progress
from compress.recipe.training_groups import Distill
from compress.tasks.losses import span
from compress.tasks.samples import Sample, collate
from tests.compress.learn.distill_kit import disturbed, question_samples, shuffled
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import TEXTS

MARK = {"teacher": ["a", "b"], "tokenizer": "c", "max_length": 128, "stride": 16}


class Cut(Exception):
    pass


class Counting(Teacher):
    """Notes how many samples it was asked about."""

    asked = 0

    def __call__(self, batch):
        self.asked += len(batch["input_ids"])
        return super().__call__(batch)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


@pytest.fixture(scope="module")
def data(tokenizer, tiny_data):
    return question_samples(tokenizer, tiny_data.train)


@pytest.fixture
def guide(tiny_model):
    return Counting(disturbed(LengthAdaptiveModel.load(tiny_model), 1))


def quiet(folder):
    return Progress(folder / "progress.jsonl", "teacher", bar=False, shown=False)


def losses(source, student, data, size=5):
    """The loss of every batch of an epoch in the training's own buckets."""
    loss = distilled(span(), Distill(apply=True, temperature=3, label_weight=0.5), student, source)
    found = []
    for rows in batches([len(s.window.input_ids) for s in data], size, seed=4, epoch=0):
        batch = {**collate([data[i] for i in rows], 0), "row": torch.tensor(rows)}
        found.append(next(loss(student, batch, random.Random(0)))[0].item())
    return found


def test_stored_logits_give_the_live_loss_when_shuffled_bucketed_and_resumed(guide, data, tiny_model, tmp_path):
    assert len({len(s.window.input_ids) for s in data}) > 5 and len({s.key for s in data}) == len(data) > 25

    class Cutting(Progress):
        def update(self, step, total, **figures):
            if step >= 12:
                raise Cut

    teaching_flush, teaching.FLUSH_SECONDS = teaching.FLUSH_SECONDS, 0.0
    try:
        with pytest.raises(Cut):
            TeacherLogits.make(tmp_path, guide, data, MARK, Cutting(None, "teacher", shown=False), batch_size=4)
    finally:
        teaching.FLUSH_SECONDS = teaching_flush
    with pytest.raises(UserError, match="not complete"):
        TeacherLogits(tmp_path, data, MARK)
    assert guide.asked == 12
    TeacherLogits.make(tmp_path, guide, data, MARK, quiet(tmp_path), batch_size=4)
    assert guide.asked == len(data), "what was stored was asked again"

    student = LengthAdaptiveModel.load(tiny_model)
    for order in (data, shuffled(data)):
        stored = TeacherLogits(tmp_path, order, MARK)
        np.testing.assert_allclose(losses(stored, student, order), losses(guide, student, order), rtol=1e-5)
    astray = TeacherLogits(tmp_path, shuffled(data), MARK)
    with pytest.raises((AssertionError, RuntimeError)):  # positions instead of keys would not do
        np.testing.assert_allclose(losses(astray, student, data), losses(guide, student, data), rtol=1e-2)


def test_nothing_is_asked_again_unless_something_changed(guide, data, tmp_path):
    TeacherLogits.make(tmp_path, guide, data, MARK, quiet(tmp_path))
    TeacherLogits.make(tmp_path, guide, data, MARK, quiet(tmp_path))
    assert guide.asked == len(data)
    other = {**MARK, "stride": 64}
    with pytest.raises(UserError, match="another stride"):
        TeacherLogits(tmp_path, data, other)
    TeacherLogits.make(tmp_path, guide, data, other, quiet(tmp_path))
    assert guide.asked == 2 * len(data) and "asked anew" in (tmp_path / "progress.jsonl").read_text()
    TeacherLogits(tmp_path, data, other)


def test_a_sample_that_reads_otherwise_now_is_refused(guide, data, tmp_path):
    TeacherLogits.make(tmp_path, guide, data[:3], MARK, quiet(tmp_path))
    changed = replace(data[0], window=replace(data[0].window, input_ids=[*data[0].window.input_ids[:-1], 7]))
    for wrong in (changed, data[4]):
        with pytest.raises(UserError, match="was not asked about"):
            TeacherLogits(tmp_path, [wrong], MARK)


def test_one_name_stands_for_one_text(guide, data, tmp_path):
    TeacherLogits.make(tmp_path, guide, [*data[:3], data[1]], MARK, quiet(tmp_path))
    assert guide.asked == 3
    with pytest.raises(UserError, match="have the id 'x'"):
        two = [replace(sample, key="x@0") for sample in data[:2]]
        TeacherLogits.make(tmp_path, guide, two, MARK, quiet(tmp_path))
    with pytest.raises(ValueError, match="without a key"):
        TeacherLogits.make(tmp_path, guide, [replace(data[0], key="")], MARK, quiet(tmp_path))


def test_the_mark_tells_weights_and_reading(tiny_model, tokenizer, tmp_path):
    mark = mark_of(tiny_model, tokenizer, 384, 128)
    twin = shutil.copytree(tiny_model, tmp_path / "twin")
    assert mark_of(twin, tokenizer, 384, 128) == mark != mark_of(twin, tokenizer, 256, 128)
    disturbed(LengthAdaptiveModel.load(twin), 3).save(twin)
    assert mark_of(twin, tokenizer, 384, 128)["teacher"] != mark["teacher"]


def test_classes_are_stored_too(tiny_model, data, tmp_path):
    model = LengthAdaptiveModel.load(tiny_model, TEXTS, id2label={"0": "no", "1": "maybe", "2": "yes"})
    labelled = [replace(sample, label=1) for sample in data]
    stored = TeacherLogits.make(tmp_path, Teacher(model), labelled, MARK, quiet(tmp_path))
    batch = collate([labelled[i] for i in (3, 0)], 0)
    torch.testing.assert_close(stored.lookup([3, 0]), Teacher(model)(batch).logits, atol=1e-5, rtol=0)
    assert stored.lookup([3, 0], 99).equal(stored.lookup([3, 0])), "classes have no width"


def test_stored_logits_are_as_wide_as_their_batch(tiny_model, data, tmp_path):
    teacher = Teacher(LengthAdaptiveModel.load(tiny_model))
    stored = TeacherLogits.make(tmp_path, teacher, data, MARK, quiet(tmp_path))
    longest = max(len(data[i].window.input_ids) for i in (3, 0))
    for width in (None, longest + 7):
        batch = collate([data[i] for i in (3, 0)], 0, width)
        found = stored.lookup([3, 0], batch["input_ids"].shape[1])
        torch.testing.assert_close(found, teacher(batch).logits, atol=1e-5, rtol=0)


def test_segments_are_made_for_a_teacher_that_knows_them_and_a_student_that_does_not(tiny_model, tokenizer, data):
    ids = torch.tensor([[2, 8, 9, 3, 10, 3, 0], [2, 8, 3, 10, 11, 12, 3]])
    assert segments(ids, 3).tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1]]
    own = copy.deepcopy(tokenizer)
    own.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    typed, bare = (
        replace(data[0], window=replace(data[0].window, token_type_ids=types))
        for types in (_types(data[0], tokenizer.sep_token_id), None)
    )
    model = LengthAdaptiveModel.load(tiny_model)
    plain = copy.deepcopy(tokenizer)
    plain.model_input_names = ["input_ids", "attention_mask"]
    assert teacher_for(model, own, [typed]).separator is teacher_for(model, plain, [bare]).separator is None
    told, made = Teacher(model)(collate([typed], 0)), teacher_for(model, own, [bare])(collate([bare], 0))
    torch.testing.assert_close(told.logits, made.logits)
    assert not Teacher(model)(collate([bare], 0)).logits.allclose(made.logits)


def _types(sample: Sample, separator: int) -> list[int]:
    first = sample.window.input_ids.index(separator) + 1
    return [0] * first + [1] * (len(sample.window.input_ids) - first)


def test_a_teacher_of_another_vocabulary_is_refused_by_the_first_difference(tiny_model, tokenizer, tmp_path):
    twin = shutil.copytree(tiny_model, tmp_path / "twin")
    facts = json.loads((twin / "tokenizer.json").read_text())
    words = facts["model"]["vocab"]
    token, number = next((t, n) for t, n in words.items() if n > 40)
    words["elsewhere"] = words.pop(token)
    (twin / "tokenizer.json").write_text(json.dumps(facts))
    model = LengthAdaptiveModel.load(tiny_model)
    with pytest.raises(UserError, match=f"token {number} is 'elsewhere' for the teacher and {token!r} for the student"):
        check_reading(model, load_tokenizer(twin), tokenizer, 384)
    check_reading(model, tokenizer, tokenizer, 384)
    with pytest.raises(UserError, match="reads 512 tokens at most, the windows have up to 600"):
        check_reading(model, tokenizer, tokenizer, 600)


def test_a_teacher_of_another_task_or_other_classes_is_refused(tiny_model):
    questions = LengthAdaptiveModel.load(tiny_model)
    two, three, named, turned = (
        LengthAdaptiveModel.load(tiny_model, TEXTS, id2label={str(i): name for i, name in enumerate(names)})
        for names in (["LABEL_0", "LABEL_1"], ["a", "b", "c"], ["no", "yes"], ["yes", "no"])
    )
    with pytest.raises(UserError, match="made for question answering, the student for classification"):
        check_fit(questions, two)
    with pytest.raises(UserError, match="3 classes"):
        check_fit(three, two)
    with pytest.raises(UserError, match="same order"):
        check_fit(turned, named)
    check_fit(two, named)
    check_fit(named, named)
