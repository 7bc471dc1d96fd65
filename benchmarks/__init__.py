"""Figures side by side with keepalived, in one run on one machine: `python -m benchmarks`, `make bench`.

Figures drift between machines and hours; only what one run says about both stands. Everything is seen from outside:
a client's probe with kernel timestamps, advertisements sniffed on a host of their own, /proc for memory and CPU.
"""
