"""What a run ends with: scores, entries of the zoo, and the check that they say what was trained."""
