"""What came of fires, and what is to come: answers from the rows, nothing is moved."""
