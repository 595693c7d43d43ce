"""Train on a prepared data set: hot rows on the device, cold rows on the host.

`loader.HotColdLoader` and `embedding.HotColdEmbedding` serve any model; the rest trains a DLRM.

The package needs torch, numpy and pyarrow, and of this project the data set's contract alone
(`fae.format.manifest`, `fae.format.errors`). Data flows in the order of this list:

parameters, arguments   what a user may choose, and the options that say so
schedule                the order of hot and cold batches
decoding, batches       row groups to checked inputs, and these to batches
windows, cache          the order of an epoch's rows, and what is kept of them in memory
loader, prefetch        an epoch's batches, made ahead in threads
layout                  ids to rows, and each batch's distinct rows
shard, optimizers       the rows of one owner, and how they learn
tables, replica         who owns a row: one side for good, or both in turn as FAE has it
host_thread, traffic    cold rows hidden behind hot batches; what copies cost
ranks, shared_tables    several processes that train together, and their tables
bags, embedding         the tables as a module for any model, with its optimiser
dlrm, recommender       the network, and one step of training
held_step               a step in fixed shapes, for a CUDA graph
metrics, history        what is measured, and the curve
checkpoint, files       what is kept, whole or not at all
training, evaluation    the loops
progress                what a person sees meanwhile

Importing the package imports no torch, so that help and usage errors come at once.
"""
