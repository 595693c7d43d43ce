"""The logs: what a log is, where its files are, and how to read them.

schema       a log's shape as data, as a whole
forms        parts of both: how lists, vectors and histories are described
columns      its columns: what each means and how its values are written
schema_files read schemas from files, and explain the mistakes in them
yaml_text    parse YAML, and find keys that occur twice
presets/     the schemas of public logs that come with the program, as YAML
files        find the files that the user names, and check their headers
compression  decompress files, and explain the errors met in reading them
blocks       cut files into blocks of whole lines, one block per task, and read them
checksums    compute the checksums that tell a rerun whether there is anything to do
"""
