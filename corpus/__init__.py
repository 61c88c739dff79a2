"""Records the labelled corpus on which the accuracy of classification is measured."""
