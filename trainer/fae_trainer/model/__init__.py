"""The DLRM, and one step of its training.

dlrm          the network above the embeddings
cuda_graph    replay a computation as a CUDA graph, and work beside it on a second stream
device_step   a step on the device alone, which a graph replays
ranked_step   a step on several devices of one machine
memory        what a model takes of the host's memory, before it is allocated
recommender   the model as a whole: tables, network, and a step on a batch
"""
