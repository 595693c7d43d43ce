"""Stage 4, `fae partition`: write the shuffled hot/cold data set; then check, use and export it.

stage       `write_dataset`: leaves, vocabularies and the manifest
parameters  the options of the stage, checked
shuffle/    scatters the rows of staged parts over files, and gathers each file in key order
parquet     the columns and encodings of data files and vocabularies
vocabulary  the id of each raw value
integrity   faults of the folder's files: missing, unknown, of another size or checksum
verify      every check of a finished data set
encoder     turns new raw rows into ids and features, for serving
cells       rows as columns, each cell by its own type
plain_cells a few rows cell by cell, without the cost of a table
value_index the id of each value of a vocabulary, found at once
export      trained embedding tables by raw value, or a model beside its encoder, for serving
"""
