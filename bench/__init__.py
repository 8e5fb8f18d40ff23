"""This program beside what one would use instead, measured in one run."""
