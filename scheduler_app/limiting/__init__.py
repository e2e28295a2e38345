"""How much at most, how often, and only once: what `holds` and `careful` ask."""
