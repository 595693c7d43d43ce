"""The DLRM, and one step of its training.

dlrm          the network above the embeddings
graph_step    a step in fixed shapes, which a CUDA graph replays
recommender   the model as a whole: tables, network, and a step on a batch
"""
