"""Arrays: what the stages share on NumPy arrays and compiled loops; nothing here knows of logs.

arrow            NumPy arrays as Arrow arrays and back, in the same memory
buffers          memory that a thread uses again, task after task
jit              kernels: loops compiled by Numba, safe to share and to interrupt
row_keys         pseudo-random keys of rows, for the shuffle and the sample
run_length       rows, and numbers for each row, as runs of neighbours
stable_argsort   the positions of an array's integers in ascending order
value_hash       a hash of each value, numbers and text
"""
