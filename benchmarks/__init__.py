"""Speed and memory of tracekit on small and large traces, with HTA and TraceLens beside it.

Run ``python -m benchmarks`` from a checkout. This package is not part of the wheel.
"""
