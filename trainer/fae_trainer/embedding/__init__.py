"""Embedding tables with hot rows on the device and cold rows on the host.

layout         where each table's rows lie in the stacked hot and cold arrays
planner        which distinct rows a batch needs, and which of them each id means
optimizers     how rows and the network learn: what an update does with the learning rate
shard          the rows of one owner with their optimiser state
cold_thread    cold rows read ahead and updated in a thread of the host
tables         the tables of one process: a row has one owner, which the learning rate reaches here
replicated     the tables of the FAE paper: hot rows on both sides, copied at each change
distributed    processes that train together, and what they exchange
shared_tables  the tables of several processes
module         `HotColdEmbedding` and `HotColdOptimizer`, for any model
"""
