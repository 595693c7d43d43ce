"""Click logs in, a hot/cold-partitioned data set out.

Importing the package costs nothing: the trainer reads `pipeline.manifest` on machines that have
neither Polars nor Dask, so nothing may be imported here.
"""

__version__ = "0.1.0"
