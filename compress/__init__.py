"""Recipes that make models smaller or faster, and the one way to run them."""
