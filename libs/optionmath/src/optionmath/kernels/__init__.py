"""Compiled kernels: arrays in, arrays out, no checks. The public modules beside this folder check and describe."""
