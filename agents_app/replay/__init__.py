"""After a cycle: what was decided in it, decided once more from what is stored, and compared."""
