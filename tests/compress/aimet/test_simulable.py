"""The encoder that AIMET gets says what ours says, in every family that it can simulate."""

from __future__ import annotations

import copy

import pytest
import torch

from compress.aimet.simulable import Simulable
from zoo.families import FAMILIES as ROWS
from zoo.modeling import LengthAdaptiveModel

FAMILIES = {
    "bert": {"architectures": ["BertForQuestionAnswering"]},
    "roberta": {"architectures": ["RobertaForSequenceClassification"], "type_vocab_size": 1, "pad_token_id": 1},
    "distilbert": {"architectures": ["DistilBertForSequenceClassification"], "activation": "relu"},
    "electra": {"architectures": ["ElectraForSequenceClassification"], "embedding_size": 16},
    "xlm-roberta": {"architectures": ["XLMRobertaForQuestionAnswering"], "pad_token_id": 1, "hidden_act": "gelu_new"},
}
SIZES = {
    "bert": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    "distilbert": ("dim", "n_layers", "n_heads", "hidden_dim"),
}


def test_every_family_that_can_be_simulated_is_tested():
    assert set(FAMILIES) >= {name for name, row in ROWS.items() if not row.peculiarity} - {"camembert"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("whole", [True, False])
def test_the_encoder_that_aimet_gets_says_what_ours_says(family, whole):
    keys = SIZES.get(family, SIZES["bert"])
    config = {"model_type": family, "vocab_size": 60, "max_position_embeddings": 40, "pad_token_id": 0}
    config |= dict(zip(keys, (32, 2, 4, 64), strict=True)) | {"id2label": {"0": "a", "1": "b", "2": "c"}}
    torch.manual_seed(0)
    made = LengthAdaptiveModel(config | FAMILIES[family]).eval()
    torch.nn.init.normal_(made.blocks[0].query.weight)
    ids = torch.randint(5, 60, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    ids[1, 6:] = made.config["pad_token_id"]
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    net = Simulable(copy.deepcopy(made), whole).eval()
    with torch.no_grad():
        expected = made(**inputs).logits
        got = net(*inputs.values())
    rows = mask.bool() if made.head.per_token else slice(None)
    torch.testing.assert_close(got[rows], expected[rows], atol=1e-5, rtol=0)
    assert set(made.state_dict()) == set(net.state_dict())
