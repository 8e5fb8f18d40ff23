"""A simulated model as an engine, so that it is scored as all others are."""

from __future__ import annotations

from compress.aimet.simulation import Simulated
from zoo.engines.torch import TorchEngine


class SimulatedEngine(TorchEngine):
    """Runs a simulation of AIMET, at full length.

    Scope `deploy` is computed in double precision: integers add up exactly, as floats do not, and a sum that is off by
    a millionth is rounded to another integer here and there, which the layers above multiply.

    Args:
        model: from `compress.aimet.simulation.open_simulated`; its weights stay rounded from now on.
        threads: of torch.
    """

    name = "aimet"

    def __init__(self, model: Simulated, threads: int):
        model.round_weights()
        if model.settings.scope == "deploy":
            model.net.double()
        super().__init__(model, threads)
