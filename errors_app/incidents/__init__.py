"""Failed attempts that are likes of each other, as one thing to look at and to decide about."""
