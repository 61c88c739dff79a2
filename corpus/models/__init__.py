"""The models of the corpus: architectures of others at real widths, few layers, random weights."""
