"""What the rows of sources stand for: columns that other sources hold, and instants of their own."""
