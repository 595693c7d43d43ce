"""Outputs that appear whole or not at all, and runs that resume.

What a killed run leaves lies in OUT.partial; `fae prepare` also keeps its stages in OUT.work (see
`preparation.py`).

outputs           builds an output beside its path, and reads the documents of finished ones
task_log          the results of finished tasks, which a later run skips
lock              one run at a time writes an output
stage_parameters  the checked parameters of a stage, part of its output's fingerprint
"""
