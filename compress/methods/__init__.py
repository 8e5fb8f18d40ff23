"""How a model is made smaller or faster: one method a file."""
