"""The AI cycle of an execution: plan, execute, summarise, schedule. Start at `begin`."""
