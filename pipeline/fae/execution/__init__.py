"""Where a stage's tasks run, and how far they are.

executor          runs tasks on threads, or hands them to a Dask cluster
dask_backend      runs tasks on a Dask cluster, whose workers may die
local_worker      what a worker process on this machine loads at its start
cluster_versions  what the machines of a cluster run, compared with this one
timings           where the time goes: seconds, bytes and threads at work, by round
progress          a table on a terminal, one bar in a notebook, lines in a log
"""
