"""QuaLA-MiniLM's table: every row has the score and the latency of its own model at its own lengths."""

from __future__ import annotations

from functools import partial

import pytest

import bench.__main__ as command
from bench import contenders, quala
from compress.results.score import score_entry
from zoo import catalog, latency
from zoo.files import read_json
from zoo.lengths import LengthConfig

ENTRY = "minilm-l6-qa-length-adaptive-int8"


def test_rows_have_the_scores_and_the_latency_of_their_lengths(monkeypatch, tmp_path, capsys):
    now, measured, opened = [0], latency.measure, quala.open_engine

    class Slow:
        """The engine on a clock on which a call takes 1 ms for each token that a layer keeps: no noise in it."""

        def __init__(self, *of):
            self.runner = opened(*of)
            self.layers = self.runner.layers

        def run(self, batch, kept):
            now[0] += int(kept.sum()) * 1_000_000
            return self.runner.run(batch, kept)

    def base(_threads):
        def call() -> None:
            now[0] += 23_040_000_000

        return lambda _batch: call

    monkeypatch.setattr(quala, "open_engine", Slow)
    monkeypatch.setattr(contenders, "bert_base", base)
    monkeypatch.setattr(latency, "measure", partial(measured, clock=lambda: now[0]))
    file = tmp_path / "rows.json"
    asked = ["quala", "--eval-file", "examples", "--questions", "8", "--rounds", "2", "--json", str(file)]
    assert command.main(asked) == 0
    first, whole, small, published, own = read_json(file)
    assert (first["p50_ms"], first["f1"]) == (23_040, None)
    assert whole["kept"] == small["kept"] == "all 384" and small["faster"] == pytest.approx(10)
    assert published["p50_ms"] == 315 + 251 + 242 + 159 + 142 + 33
    front = catalog.find(ENTRY).front
    assert front
    config = front.at("loss", 1.0).point.config
    assert own["kept"] == config.absolute() and own["p50_ms"] == sum(config.tokens(384))
    for row, lengths in ((small, None), (published, quala.LENGTHS), (own, ", ".join(map(str, config.fractions)))):
        told = score_entry(ENTRY, "examples", None, lengths, "onnxruntime", 8)
        assert (row["f1"], row["em"], row["macs"]) == (told["f1"], told["exact_match"], told["macs_ratio"])
    assert published["padded"] < 1 and whole["ranked"] == small["ranked"] == "" and published["ranked"]
    shown = capsys.readouterr().out
    assert "F1 88.58 in full precision, 87.68 compressed at a speed-up of 8.8" in shown
    assert LengthConfig.parse(quala.LENGTHS).absolute() == published["kept"]


def test_an_entry_without_a_front_is_refused(capsys):
    assert command.main(["quala", "--eval-file", "examples", "--entry", "minilm-l6-qa"]) == 2
    assert "has no front" in capsys.readouterr().err
