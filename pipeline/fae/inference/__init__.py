"""Inference: look at the beginning of a log, and propose a schema for it.

infer     propose a schema, try it on the log, and mend what does not fit
sample    tell a log's format, separator, header and quotes, and take its first rows
columns   guess what each column means and how its values are written
labels    choose the label, and the rule for its values
document  write the schema as commented YAML
"""
