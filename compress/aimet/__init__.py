"""AIMET: eight-bit rounding of a whole model simulated in torch, with ranges that are learned."""
