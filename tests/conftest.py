"""What every test finds: an environment that stays on this machine, a tiny model, tiny data."""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

_home = tempfile.mkdtemp(prefix="budget-zoo-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
# Before anything reads them at import.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "RAY_AUTH_MODE": "disabled",  # else a local cluster of Ray writes a token into the home folder
    "TOKENIZERS_PARALLELISM": "false",
    "BUDGET_ZOO_HOME": _home,
    "BUDGET_ZOO_AUTO_ENGINE": "false",  # seconds for every model; tests of it turn it on
    "BUDGET_ZOO_TRIAL": "false",  # a process for every folder that a test opens; tests of it turn it on
}

import pytest  # noqa: E402

from zoo.settings import get_settings  # noqa: E402
from zoo.torchvision_fix import mend  # noqa: E402

mend()  # tests import transformers in any order

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """Backends set levels of everybody's log; the next test is not to notice."""
    level, disabled = logging.root.level, logging.root.manager.disable
    yield
    logging.root.setLevel(level)
    logging.disable(disabled)


@pytest.fixture(autouse=True)
def _settings_as_the_environment_is():
    """Settings that were read in a test's environment are not the next one's."""
    yield
    get_settings.cache_clear()


EXAMPLES = ROOT / "zoo" / "models" / "examples.json"


class TinyData(NamedTuple):
    """SQuAD-format files of disjoint articles."""

    train: Path
    validation: Path
    evaluation: Path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    """25 questions to train on, 10 to search on and 10 to report on."""
    articles = json.loads(EXAMPLES.read_text(encoding="utf-8"))["data"]
    folder = tmp_path_factory.mktemp("tiny-data")
    for name, part in (("train", articles[:5]), ("validation", articles[5:7]), ("evaluation", articles[7:9])):
        (folder / f"{name}.json").write_text(json.dumps({"version": "1.1", "data": part}), encoding="utf-8")
    return TinyData(*(folder / f"{name}.json" for name in TinyData._fields))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random two-layer BERT with a question-answering head and a WordPiece tokenizer of its own."""
    from zoo import torchvision_fix

    torchvision_fix.mend()
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = _word_pieces(EXAMPLES.read_text(encoding="utf-8"))
    tokenizer.save_pretrained(str(folder))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.3,  # with the usual 0.02 every token looks alike to so small a model
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForQuestionAnswering(config).save_pretrained(str(folder))
    return folder


@pytest.fixture
def local_hub(tmp_path, monkeypatch):
    """The state of a Hub that this process's huggingface_hub talks to; home and caches are this test's own."""
    from huggingface_hub import close_session, constants

    from tests.hub_server import HubServer

    home = tmp_path / "home"
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(home))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    get_settings.cache_clear()
    close_session()
    with HubServer(tmp_path / "hub-files") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server.hub
    close_session()
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; skips where there is none."""
    from zoo.settings import get_settings

    folder = get_settings().data or ROOT.parent / "shared" / "data"
    if not (folder / "qa").is_dir():
        pytest.skip("no real data here: set BUDGET_ZOO_DATA to a folder that holds qa/")
    return folder


@pytest.fixture(scope="session")
def seeds() -> dict[str, str]:
    """The documents of the five systems by their numbers, `000` to `004`; skips where they are not at hand."""
    places = [Path(os.environ["BUDGET_ZOO_SEEDS"])] if os.environ.get("BUDGET_ZOO_SEEDS") else []
    for folder in (*places, ROOT.parent / "shared" / "seeds"):
        if folder.is_dir():
            return {path.name[:3]: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))}
    pytest.skip("the documents of the five systems are not here: set BUDGET_ZOO_SEEDS to their folder")


def _word_pieces(text: str):
    """A fast WordPiece tokenizer: every word of `text` that occurs twice, and all characters for the rest."""
    from collections import Counter

    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
    common = sorted(word for word, count in Counter(words).items() if count > 1 and len(word) > 1)
    characters = sorted({character for word in words for character in word})
    pieces = [*special, *characters, *(f"##{character}" for character in characters), *common]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
