"""How the states of tokens become one vector: what a folder of sentence-transformers says, and what an entry keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UserError
from zoo.files import read_json
from zoo.task_types import EMBEDDINGS, TASK_TYPES

MODES = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}
OVER = ("restored", "left", "mapped")
LONGEST, MOST_TOKENS = 512, 2**20
KEY, PROMPTS = "pooling", "sentence_prompts"  # of config.json
SHORTCUTS = "shortcuts"  # begins the names of the weights of `zoo.shortcut`


@dataclass(frozen=True)
class Pooling:
    """How a text's vector is made of the states of its tokens.

    Attributes:
        mode: "mean", "max", or "cls", which takes the first token's.
        normalize: whether the vector gets the length 1.
        over: "restored", every token with its last state; "left", those that were never dropped; or "mapped", every
            token, a dropped one's last state brought to the last layer by `zoo.shortcut`.
        max_length: tokens of a text at most.
    """

    mode: str = "mean"
    normalize: bool = True
    over: str = "restored"
    max_length: int = LONGEST

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Pooling:
        """What a `config.json` of ours says; the mean where it says nothing.

        Raises:
            UserError: it names something that is not computed here.
        """
        stated = config.get(KEY) or {}
        if fault := stated.get("fault"):
            raise UserError(f"{fault}: its vectors cannot be computed here. Take a model that pools by {_listed()}.")
        pooling = cls(**{key: stated[key] for key in asdict(cls()) if key in stated})
        is_limit = isinstance(pooling.max_length, int) and 2 < pooling.max_length <= MOST_TOKENS  # pyright: ignore
        if str(pooling.mode) not in MODES or str(pooling.over) not in OVER or not is_limit:
            raise UserError(
                f"pooling in config.json is {dict(stated)}: mode is one of {', '.join(MODES)}, over one of "
                f"{', '.join(OVER)}. Correct it."
            )
        if pooling.over == "mapped" and pooling.mode != "mean":
            raise UserError(f"over is “mapped” in config.json, which goes with the mode mean, not {pooling.mode}.")
        return pooling

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


MEAN = Pooling("mean", normalize=False)  # of a classifier that reads every token


def with_pooling(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A configuration with what a folder of sentence-transformers says of the vectors that its encoder is for."""
    pooling = None if KEY in config else stated_in(folder)
    if pooling is None:
        return config
    name, prompts = (config.get("architectures") or [""])[0], prompts_in(folder)
    config = {**config, KEY: pooling, **({PROMPTS: prompts} if prompts else {})}
    heads = [kind.ending for kind in TASK_TYPES.values() if kind.layers]
    if not name.endswith(tuple(heads)):  # some are saved as what they were trained from: MPNetForMaskedLM
        config["architectures"] = [re.sub("(For[A-Z].*|Model)?$", EMBEDDINGS.ending, name, count=1)]
    return config


def stated_in(folder: Path) -> dict[str, Any] | None:
    """What the files of sentence-transformers in a folder say, as our key of `config.json`; None where there are none.

    What cannot be computed here stands in it as `fault`, since the encoder itself may still be of use.
    """
    if not (folder / "modules.json").is_file():
        return None
    try:
        modules = [(str(m["type"]).rpartition(".")[2], str(m["path"])) for m in read_json(folder / "modules.json")]
        pooling = Pooling(normalize=False)
        for kind, path in modules[1:]:
            if kind == "Pooling":
                if not is_module_file(f"{path}/config.json"):
                    raise UserError(
                        f"modules.json in {folder} has a module at “{path[:80]}”, which is none. Restore it."
                    )
                pooling = Pooling(_mode(read_json(folder / path / "config.json")), False)
            elif kind == "Normalize":
                pooling = Pooling(pooling.mode, True)
            else:
                return {"fault": f"The model has a layer {kind} ({path}) above its encoder"}
        if modules and modules[0][0] != "Transformer":
            return {"fault": f"The model begins with {modules[0][0]}, not with a Transformer"}
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"modules.json in {folder} is no list of sentence-transformers' modules: {error!r}.") from error
    most = _most_tokens(folder)
    return {"mode": pooling.mode, "normalize": pooling.normalize, **({"max_length": most} if most else {})} | (
        {} if pooling.mode in MODES else {"fault": f"The model pools by {pooling.mode}"}
    )


def prompts_in(folder: Path) -> dict[str, Any]:
    """What a folder of sentence-transformers says to write before texts, and to compare vectors by.

    Returns:
        `prompts`, texts by name; `default_prompt_name` and `similarity_fn_name`. Empty where it says none of it.
    """
    path = folder / "config_sentence_transformers.json"
    stated = read_json(path) if path.is_file() else {}
    if not isinstance(stated, dict):
        return {}
    prompts = stated.get("prompts")
    texts = (
        {str(name): text for name, text in prompts.items() if text and isinstance(text, str)}
        if isinstance(prompts, dict)
        else {}
    )
    default, compared = stated.get("default_prompt_name"), stated.get("similarity_fn_name")
    said = {
        "prompts": texts,
        "default_prompt_name": default if isinstance(default, str) and default in texts else None,
        "similarity_fn_name": compared,
    }
    return {key: value for key, value in said.items() if value and value != "cosine"}


def module_files(folder: Path) -> list[str]:
    """Configurations of sentence-transformers' modules in a folder, as paths from it; none where it has none."""
    if not (folder / "modules.json").is_file():
        return []
    names = (path.relative_to(folder).as_posix() for path in folder.glob("*/config.json"))
    return sorted(name for name in names if is_module_file(name))


def is_module_file(name: str) -> bool:
    """Whether a repository's file is the configuration of such a module."""
    return re.fullmatch(r"\d+_\w+/config\.json", name) is not None


def _mode(stated: Mapping[str, Any]) -> str:
    """The mode of a `1_Pooling/config.json`, by its older keys (one for each mode) or its newer one."""
    if isinstance(stated.get("pooling_mode"), str):
        return stated["pooling_mode"]
    chosen = [key for key, value in stated.items() if key.startswith("pooling_mode_") and value is True]
    names = {key: mode for mode, key in MODES.items()}
    return " and ".join(names.get(key, key.removeprefix("pooling_mode_")) for key in chosen) or "mean"


def _most_tokens(folder: Path) -> int | None:
    path = folder / "sentence_bert_config.json"
    most = read_json(path).get("max_seq_length") if path.is_file() else None
    return most if isinstance(most, int) and most > 2 else None


def _listed() -> str:
    *most, last = MODES
    return f"{', '.join(most)} or {last}"
