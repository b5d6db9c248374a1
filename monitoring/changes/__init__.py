"""Changes of the inputs: the bins in which they are counted, what tells them from the training rows, and what they cost."""
