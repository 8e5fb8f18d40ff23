"""Running a recipe: stage after stage, and the traces that a run leaves."""
