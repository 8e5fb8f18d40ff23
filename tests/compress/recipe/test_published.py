"""What the five systems published is found by what an entry states of itself."""

from __future__ import annotations

import pytest

from compress.recipe.published import remark


def facts(recipe, metric, **more):
    return {"provenance": {"recipe": recipe}, "metrics": {"metric": metric, "n": 9, **more}}


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        (
            facts("aimet_w8a8", "SQuAD 1.1"),
            "AIMET, MiniLM-L12: F1 90.47 in full precision, 89.70 compressed.",
        ),
        (
            facts("length_adaptive", "SQuAD 1.1"),
            "QuaLA-MiniLM, L6: F1 88.58 in full precision, 87.68 compressed at a speed-up of 8.8.",
        ),
        (
            facts("prune_once", "SQuAD 1.1"),
            "Prune Once for All, DistilBERT: F1 85.82 compressed with 85 % zeros, before quantization; "
            "Prune Once for All, BERT-base: F1 88.42 compressed with 85 % zeros, before quantization.",
        ),
        (
            facts("nncf", "XNLI (zh)"),
            "NNCF, BERT-base Chinese: Accuracy 77.68 in full precision, 77.02 compressed.",
        ),
        (
            facts("nncf", "MNLI, matched", mnli_mm={"accuracy": 1.0}),
            "NNCF, RoBERTa-large: Accuracy 90.60 in full precision, 89.25 compressed; "
            "NNCF, RoBERTa-large: Accuracy 90.10 in full precision, 88.90 compressed.",
        ),
    ],
)
def test_a_result_has_the_figures_of_its_method_and_task_beside_it(stated, sentence):
    assert remark(stated) == f"Published for this method and task: {sentence}"


@pytest.mark.parametrize(
    "stated",
    [{}, facts("nas", "MNLI, matched"), facts("nncf", "SST-2"), {"provenance": "?", "metrics": []}],
)
def test_nothing_is_said_where_nothing_was_published(stated):
    assert remark(stated) == ""
