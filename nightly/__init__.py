"""Campaigns of faults: each tries, from a seed, to make a preparation or a training lose something.

python -m nightly                     all of them, as `make nightly` does; a table at the end
python -m nightly crashes --amount 20 --seed 7
"""
