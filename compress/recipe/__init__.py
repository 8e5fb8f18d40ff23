"""What a recipe says: its groups of keys, its kinds, and reading, checking and writing it."""
