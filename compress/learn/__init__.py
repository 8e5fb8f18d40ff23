"""Float training: the loop, fine-tuning, LengthDrop, distillation, pre-training, and the search for lengths."""
