"""Compiled kernels: bytes in, arrays out. `tastyclient.dxlink_compiled` loads, checks and describes them."""
