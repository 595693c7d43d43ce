"""Synthetic click logs with the shape, the skew and the dependence of the public ones."""

from fae.synthetic.log import CHUNK_ROWS, KINDS, SyntheticLog, write_log

__all__ = ["CHUNK_ROWS", "KINDS", "SyntheticLog", "write_log"]
