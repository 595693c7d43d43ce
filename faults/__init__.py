"""Campaigns of injected faults, which try to make a preparation or a training lose something.

`python -m faults` runs all of them, as `make faults` does, and prints a table at the end;
`python -m faults crashes --amount 20 --seed 7` runs part of one. Each campaign is a module:

soak          prepare, append and train again and again while workers are killed, and watch memory
  fleet, driver, disturbance, growth    its long-lived processes, its faults, and what may not grow
crashes       kill programs at any moment
  workloads, killable, kills            what is killed, in which process, and at which moment
interruptions  end programs by signals at any moment, from their start on
fuzzing       feed hostile logs, schemas, options and documents to their readers
mutations     damage finished data sets
  damage, forgery                       the kinds of damage, with and without repaired checksums
limits        deny disk space, memory, open files
  refusals                              what is refused before anything starts
determinism   prepare and train in other ways, and compare the bytes
  preparations, variants, repetition    the cases, the ways to prepare them and to train again

outcome is what a campaign reports, programs how it starts `fae`, visits a log that it prepares.
"""
