"""Results by name, kept as they come: what a killed stage does not have to compute again."""

from __future__ import annotations
