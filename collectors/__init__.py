"""What runs on the GPU machine and records traces; the only part of tracekit that imports torch."""
