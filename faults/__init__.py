"""Campaigns of faults, which try to make a preparation or a training lose something.

`python -m faults` runs all, as `make faults` does, and ends with a table;
`python -m faults crashes --amount 20 --seed 7` runs one, a part of it.
"""
