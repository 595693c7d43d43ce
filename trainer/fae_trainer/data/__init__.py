"""Read a prepared data set as batches, decoded ahead in threads.

schedule      the order of hot and cold batches in an epoch
decoding      Parquet row groups to checked blocks of rows
batches       batches of samples, and how they are cut and joined
buffers       memory that decoded arrays reuse
cache         decoded rows kept in memory from epoch to epoch
leaf_reader   the rows of one split and temperature, in an epoch's order
prefetch      items made ahead of their use by threads
loader        `HotColdLoader`: a split's batches, for any training loop
"""
