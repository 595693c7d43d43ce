"""Where a data set's files lie: on the local disk, or in an object store.

dataset_folder  the folder of a data set, wherever it lies
object_store    files in S3, read by ranges
block_cache     parts of remote files kept on the local disk
"""
