"""How instants are written wherever Django writes them: ISO, because the readers are operators."""
