"""A sub-network -> a plain checkpoint that transformers loads by itself."""

from __future__ import annotations

from pathlib import Path

from compress.nas.space import Arch
from compress.nas.supernet import SuperNet
from zoo.errors import UserError
from zoo.features import Tokenizer, load_tokenizer


def extract(net: SuperNet, arch: Arch, folder: Path, tokenizer: Tokenizer | None = None) -> Path:
    """Writes a sub-network's `config.json`, `model.safetensors` and tokenizer; its outputs are the supernet's there.

    Args:
        net: the supernet, with a head for a task or for masked words; the sub-network gets the same.
        arch: which.
        folder: for the files.
        tokenizer: the supernet's; None writes none.

    Returns:
        `folder`.

    Raises:
        UserError: the supernet has no such sub-network, or transformers has no words for it.
    """
    check_plain(arch)
    net.extract(arch).save(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder))
    return folder


def check_plain(arch: Arch) -> None:
    """Refuses what transformers cannot load: its BERT has queries as wide as hidden states.

    Raises:
        UserError: it says which sizes would do.
    """
    if arch.qkv != arch.hidden:
        raise UserError(
            f"transformers loads encoders whose queries are as wide as their hidden states; {arch} has queries of "
            f"{arch.qkv} for a width of {arch.hidden}. Take {arch.hidden // arch.head_size} heads of size "
            f"{arch.head_size}, or another width."
        )


def extract_from(supernet: Path, key: str, folder: Path) -> dict[str, int | str]:
    """Cuts an encoder out of what a stage `supernet` or `tune` has left.

    Args:
        supernet: the stage's folder.
        key: its sizes, `l4-h256-f1024-a8` for example.
        folder: for the checkpoint.

    Returns:
        The sizes again, and how many parameters the checkpoint has.

    Raises:
        UserError: these sizes were never trained (the nearest that were are named), or there is something in `folder`.
    """
    arch, net = Arch.parse(key), SuperNet.load(supernet)
    check_plain(arch)
    if arch not in net.space:
        raise UserError(f"{arch} was never trained in this supernet: the nearest is {net.space.nearest(arch)}.")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: give another folder.")
    extract(net, arch, folder, load_tokenizer(supernet))
    return {"arch": arch.key, "parameters": sum(part.numel() for part in net.extract(arch).parameters())}
