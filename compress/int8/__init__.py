"""Our own eight bits: ranges, the int8 graph, the accuracy criterion, sensitivity."""
