"""Files on the local disk and in object stores, by the same calls.

folder      a directory or a URL's prefix: read, write, list and remove its files
remote      the file systems behind URLs, with retries
file_cache  local copies of remote files
decoding    Parquet, whose decoded bytes are bounded before memory is taken for them
raw_arrays  arrays as files of bare numbers
"""
