"""What a task means: how its data become windows and losses, and how answers are scored."""
