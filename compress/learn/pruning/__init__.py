"""Which weights go and when: patterns, scores, schedules, masks, and the report of what went."""
