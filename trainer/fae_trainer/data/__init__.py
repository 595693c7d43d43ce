"""Read a prepared data set as batches, decoded ahead in threads.

schedule      how many hot and cold batches an epoch has, and their order
windows       the row groups that are decoded together, and the random orders of an epoch
decoding      Parquet row groups to checked blocks of rows
batches       batches of samples, and how they are laid out, gathered and cut
bags          the ids of chosen features of a batch, or of TorchRec's keyed ids
pending       batches in the making, whose rows threads give
buffers       memory that decoded rows and batches reuse
cache         decoded rows kept in memory from epoch to epoch
leaf_reader   the rows of one split and temperature, in an epoch's order
prefetch      items made ahead of their use by threads, and batches copied to a GPU ahead
vocabulary    the rows of raw values
sharing       decoded windows shared among the processes of one machine
loader        `HotColdLoader`: a split's batches, for any training loop
"""
