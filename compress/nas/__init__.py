"""Neural architecture search for int8 encoders: a supernet, a latency predictor, a two-stage search."""
