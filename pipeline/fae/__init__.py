"""Click logs in, a hot/cold-partitioned data set out.

Importing the package costs nothing: the trainer reads `fae.format` on machines that have neither
Polars nor Dask, so nothing may be imported here.
"""

from fae.format.version import __version__ as __version__
