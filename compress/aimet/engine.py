"""A simulated model as an engine, so that it is scored as all others are."""

from __future__ import annotations

from compress.aimet.simulation import Simulated
from zoo.engines.torch import TorchEngine


class SimulatedEngine(TorchEngine):
    """Runs a simulation of AIMET, at full length.

    Args:
        model: from `compress.aimet.simulation.open_simulated`; its weights stay rounded from now on.
        threads: of torch.
    """

    name = "aimet"

    def __init__(self, model: Simulated, threads: int):
        model.round_weights()
        self._hold(model, threads)
