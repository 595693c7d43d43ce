"""Casting: raw columns become the types of the schema, and values that do not fit are rejected.

rows            cast all columns of some rows, and reject rows with a value that does not fit
raw_columns     make the log's fields the schema's raw columns: names, nulls, rules
own_functions   call the functions of the user's own that a schema names
numbers         cast labels and dense features
categories      cast categories, and lists of them
times           cast times, and derive categories from them
missing_values  what counts as a missing value
"""
