"""Ingestion: parse logs into a staging, whose parts hold the rows as typed columns.

stage           the stage `ingest`: a task per block of a log
parameters      its parameters
parser          parse a block's lines; malformed ones become rejects
fast_parser     the compiled parser of plain lines, which nearly all are
plain_texts     the same for the columns of a table that are text
cast/           cast raw columns to the schema's types, and reject values that do not fit
record_formats  split lines of JSON, and of `slot:value` pairs
quoted_records  read records that hold line breaks
explosion       make a row of each sample of a line
rejects         a reject, and `rejects.jsonl`
histories       lists of what earlier rows of a user have, beside the parts
part            one staged part: write it, and read its columns
dictionaries    encode a column as positions in the dictionary of its values
staging         the staging as a whole, as later stages read it
"""
