"""Embedding tables with hot rows on the device and cold rows on the host.

layout         where each table's rows lie in the stacked hot and cold arrays
optimizers     how rows and the network learn: what an update does with the learning rate
shard          the rows of one owner with their optimiser state; memory that a device reads too
tables         the tables of one process: a row has one owner
replicated     the tables of the FAE paper: hot rows on both sides, copied at each change
distributed    processes that train together, and what they exchange
shared_tables  the tables of several processes, which exchange cold rows
locked_tables  the tables of several devices of one machine, which share the memory of cold rows
host_rows      look up and update rows on the host; the reference for the kernels
kernels        Triton kernels that look up and update rows in either memory
device_rows    look up and update rows on the device by these kernels
module         `HotColdEmbedding`, for any model
row_optimizer  `HotColdOptimizer`, which updates its rows
"""
