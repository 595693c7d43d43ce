"""Casting: raw columns become the types of the schema, and values that do not fit are rejected.

rows            cast all columns of some rows, and reject rows with a value that does not fit
categories      cast categories, and lists of them
times           cast times, and derive categories from them
missing_values  what counts as a missing value
"""
