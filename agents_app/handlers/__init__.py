"""What carries out an execution: one class per task type, found through one table."""
