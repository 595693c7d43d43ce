"""The shuffle: rows in pseudo-random order within each split and temperature, as Parquet files.

rounds     scatters the rows of staged parts over files, and gathers each file in key order
part_rows  encodes staged parts' rows as words, and finds which of them are cold
row_codec  packs encoded rows into words, so that the shuffle moves a row as one piece
"""
