"""What can be said of a model without running it: the arithmetic of the study."""
