"""The machines that the Hub lends by the minute, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.errors import UserError
from zoo.hub import client, patiently, plainly
from zoo.settings import get_settings

MINUTES = {"second": 1 / 60, "minute": 1.0, "hour": 60.0}  # in each unit that the Hub may count by


@dataclass(frozen=True)
class Machine:
    """A machine of the Hub.

    Attributes:
        name: as the Hub calls it, such as `t4-small`.
        parts: processors, memory and accelerator, in words.
        minute: US dollars a minute.
    """

    name: str
    parts: str
    minute: float

    @property
    def price(self) -> str:
        """What a minute and an hour of it cost, in words."""
        return f"${self.minute:.4f} a minute (${60 * self.minute:.2f} an hour)"

    def told(self) -> str:
        """What it is and what it costs, and whom, and how much at most."""
        hours = get_settings().job_hours
        return (
            f"{self.name} ({self.parts}) costs {self.price}. The Hub asks it of the account that starts the job: at "
            f"most ${60 * self.minute * hours:.2f}, since it is stopped after {hours:g} hours (BUDGET_ZOO_JOB_HOURS)."
        )


def machines(token: str | None = None) -> list[Machine]:
    """The machines that there are now, the cheapest first.

    Raises:
        UserError: the Hub cannot be asked.
    """
    api = client(token)
    with plainly("the Hub's machines"):
        hardware = patiently(lambda: api.list_jobs_hardware())
    made: list[Machine] = []
    for each in hardware:
        parts = [each.cpu, each.ram]
        if each.accelerator:
            parts.append(f"{each.accelerator.quantity} × {each.accelerator.model} of {each.accelerator.vram}")
        if each.unit_label in MINUTES:
            made.append(Machine(each.name, ", ".join(parts), each.unit_cost_usd / MINUTES[each.unit_label]))
    return sorted(made, key=lambda machine: machine.minute)


def machine(flavor: str, token: str | None = None) -> Machine:
    """The machine of this name.

    Raises:
        UserError: there is none, or none is named; says which there are and what they cost.
    """
    there = machines(token)
    if found := next((each for each in there if each.name == flavor), None):
        return found
    listed = "; ".join(f"hf-job:{each.name} ({each.parts}), ${each.minute:.4f} a minute" for each in there)
    said = f"The Hub has no machine {flavor!r}." if flavor else "Say which machine of the Hub."
    raise UserError(f"{said} Choose one of: {listed}.")
