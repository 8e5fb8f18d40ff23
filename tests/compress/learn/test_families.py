"""RoBERTa and DistilBERT, and questions without an answer, through what quantizes, prunes and distils."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.int8.inc import FOLDER
from compress.learn.prune_once import check_zeros
from compress.recipe.load import load
from compress.run.run import run
from tests.compress.training_kit import prune_once
from tests.conftest import EXAMPLES, TinyData
from zoo import ask, catalog
from zoo.engines import open_engine
from zoo.engines.inductor import InductorEngine
from zoo.errors import UserError
from zoo.families import FAMILIES
from zoo.features import load_tokenizer, make_windows, pad
from zoo.files import read_json
from zoo.modeling import LengthAdaptiveModel

SIZES = {
    "roberta": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "type_vocab_size": 1,
        "max_position_embeddings": 514,
    },
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "modernbert": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "local_attention": 16,
    },
    "albert": {
        "embedding_size": 16,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    },
}


PASSAGE = "Ann met Bob in Rome."


@pytest.fixture(scope="module", params=["roberta", "distilbert"])
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def checkpoint(family, tiny_model, tmp_path_factory) -> Path:
    """A random encoder of the family that answers questions, with the tokenizer that the family has."""
    import torch
    import transformers

    tokenizer: Any = _byte_pairs() if family == "roberta" else load_tokenizer(tiny_model)
    cls = FAMILIES[family].classes
    config = getattr(transformers, f"{cls}Config")(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        initializer_range=0.3,
        **SIZES[family],
    )
    folder = tmp_path_factory.mktemp(family)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, f"{cls}ForQuestionAnswering")(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def unanswerable(tiny_data, tmp_path_factory) -> TinyData:
    """The tiny data in the form of SQuAD 2.0: of every passage, the first question has no answer in it."""
    folder = tmp_path_factory.mktemp("unanswerable")
    for name in TinyData._fields:
        whole = json.loads(getattr(tiny_data, name).read_text(encoding="utf-8"))
        for article in whole["data"]:
            for paragraph in article["paragraphs"]:
                for i, question in enumerate(paragraph["qas"]):
                    question["is_impossible"] = i == 0
                    question["answers"] = [] if i == 0 else question["answers"]
        (folder / f"{name}.json").write_text(json.dumps({**whole, "version": "v2.0"}), encoding="utf-8")
    return TinyData(*(folder / f"{name}.json" for name in TinyData._fields))


def changes(checkpoint: Path, data: TinyData, *more: str) -> list[str]:
    return [
        f"model={checkpoint}",
        f"dataset.train={data.train}",
        f"dataset.evaluation={data.evaluation}",
        "dataset.task=squad_v2",
        *more,
    ]


def look(folder: Path, family: str, entries: int = 2) -> None:
    """The packaged models load as people load them, say what they report on, and may leave a question unanswered."""
    scores = read_json(folder / "evaluate" / "scores.json")
    assert scores["measured_on"]["metric"] == "SQuAD 2.0" and scores["measured_on"]["n"] == 10
    names = [path.parent.name for path in sorted((folder / "package").glob("*/entry.json"))]
    assert len(names) == entries
    for name in names:
        entry = catalog.find(str(folder / "package" / name))
        assert read_json(entry.folder / "config.json")["model_type"] == family
        for engine in entry.engines:
            opened = open_engine(engine, entry, 1)
            tokenizer = load_tokenizer(entry.folder)
            (said,) = ask.predict(opened, tokenizer, [("Who?", PASSAGE)], null_threshold=0.0)
            assert said.text in PASSAGE


def test_pruned_distilled_and_trained_to_be_rounded(own_home, family, checkpoint, unanswerable, tmp_path):
    settings = changes(checkpoint, unanswerable, f"dataset.validation={unanswerable.validation}")
    cleared = [f"dataset.{key}titles=null" for key in ("", "validation_", "evaluation_")]
    run(load("train_tiny", [*settings, *cleared, "prune.target_sparsity=0.6"]), tmp_path)
    before, after = (LengthAdaptiveModel.load(tmp_path / place) for place in ("train", "evaluate/float"))
    zeros = 0
    for old, new in zip(before.blocks, after.blocks, strict=True):
        assert ((new.expand.weight == 0) == (old.expand.weight == 0)).all()
        zeros += int((new.expand.weight == 0).sum())
    assert zeros
    look(tmp_path, family)


@pytest.mark.parametrize("preset", ["static_int8", "dynamic_int8"])
def test_rounded_as_it_is(own_home, family, checkpoint, unanswerable, tmp_path, preset):
    criterion = ["criterion.apply=true", "criterion.max_trials=2", "criterion.max_questions=10"]
    run(load(preset, changes(checkpoint, unanswerable, "evaluate.latency_rounds=1", *criterion)), tmp_path)
    look(tmp_path, family)


@pytest.mark.filterwarnings("ignore")  # torchao and torch.export warn of their own ways
@pytest.mark.parametrize("approach", ["static", "dynamic"])
def test_rounded_by_neural_compressor_beside_the_file(own_home, family, checkpoint, unanswerable, tmp_path, approach):
    beside = ["quantize.neural_compressor=true", "evaluate.latency_rounds=1"]
    run(load(f"{approach}_int8", changes(checkpoint, unanswerable, *beside)), tmp_path)
    look(tmp_path, family, entries=3)
    engine, plain = InductorEngine.open(tmp_path / "quantize" / FOLDER, 1), LengthAdaptiveModel.load(checkpoint)
    (window,) = make_windows(load_tokenizer(checkpoint), ["Who?"], [PASSAGE])
    batch = pad([window])
    lengths = np.full((1, engine.layers), len(window.input_ids), np.int64)
    with torch.no_grad():
        exact = plain(**{name: torch.from_numpy(value) for name, value in batch.items()}).logits.numpy()
    assert np.corrcoef(engine.run(batch, lengths).logits.ravel(), exact.ravel())[0, 1] > 0.9


def test_pruned_once_for_all(own_home, family, checkpoint, unanswerable, tmp_path):
    places = {name: str(getattr(unanswerable, name)) for name in TinyData._fields}
    settings = prune_once(
        checkpoint,
        unanswerable,
        dataset={**places, "task": "squad_v2"},
        distill={"apply": True, "teacher": str(checkpoint)},
    )
    run(settings, tmp_path)
    assert check_zeros(tmp_path / "pretrain", tmp_path / "aware")["sparsity"] == pytest.approx(0.85, abs=0.01)
    look(tmp_path, family)


@pytest.mark.parametrize("family", ["albert", "modernbert"], indirect=True)
def test_families_that_are_not_taken_apart_are_trained_and_rounded_but_not_pruned(
    own_home, family, checkpoint, unanswerable, tmp_path
):
    settings = changes(checkpoint, unanswerable, f"dataset.validation={unanswerable.validation}")
    cleared = [f"dataset.{key}titles=null" for key in ("", "validation_", "evaluation_")]
    run(load("train_tiny", [*settings, *cleared, "prune.apply=false"]), tmp_path / "train")
    look(tmp_path / "train", family)
    model = LengthAdaptiveModel.load(tmp_path / "train" / "train")
    assert (model.blocks[0].expand.weight is model.blocks[1].expand.weight) == (family == "albert")
    for preset, more in (("minilm_l6_w8a8_squad", ["finetune.apply=false"]), ("nncf_minilm_l6_squad", [])):
        with pytest.raises(UserError, match="BERT, which this recipe cannot take: its layers"):
            run(load(preset, [*settings, *cleared, *more]), tmp_path / preset)
    with pytest.raises(UserError, match="BERT, which this recipe cannot take: its layers"):
        run(load("train_tiny", [*settings, *cleared]), tmp_path / "pruned")


def _byte_pairs() -> Any:
    """A byte-level BPE tokenizer with RoBERTa's special tokens, learned from the bundled questions."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learned = Tokenizer(models.BPE(unk_token="<unk>"))
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train([str(EXAMPLES)], trainer)
    learned.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=learned,
        model_max_length=512,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
