"""The compiled engine: records, kernels and the thin classes over them. Imports numpy, numba and `bt_gym._jit` only."""
