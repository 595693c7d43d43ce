"""What `import fae` offers: the commands as functions, and a data set as an object.

stages       prepare, append, and the four stages one by one
conversions  what callers may pass to them, turned into what the stages take
dataset      a finished data set, to read, to verify, to report on
export       a trained run's tables in raw values, or as a model that scores without the trainer
exported     such a model, and the scores of raw rows by it
predict      scores of the rows of new logs by a trained model
dvc_project  dvc.yaml and params.yaml for logs of one's own
served_logs  such logs, read with or without their labels
"""
