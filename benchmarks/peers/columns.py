"""The columns of Criteo's TSV: a label, 13 counts, 26 categories of 8 hexadecimal digits."""

DENSE = [f"I{i}" for i in range(1, 14)]
SPARSE = [f"C{i}" for i in range(1, 27)]
ALL = ["label", *DENSE, *SPARSE]
