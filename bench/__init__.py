"""Benchmarks: `make bench`. Figures are ratios within one run wherever they can be."""
