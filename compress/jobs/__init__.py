"""Recipes in the background: the durable queue, its workers, what a job may use."""
