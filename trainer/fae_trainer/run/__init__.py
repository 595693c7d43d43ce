"""Train, evaluate and convert runs.

history        how far a run is, and its learning curve
metrics        log loss, AUC and accuracy
checkpoint     save and load a run as one file
lock           let one process at a time train into a directory
callbacks      what a run calls as it trains, and when it stops early
loggers        TensorBoard, MLflow, Weights & Biases and DVCLive
progress       what a person sees of a run
evaluate       score a split with a run's checkpoint
train          the training loop
import_run     convert a run to a data set with other ids
bench_device   time hot and cold steps on this machine
"""
