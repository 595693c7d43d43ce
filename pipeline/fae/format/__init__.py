"""The contract on disk and the ground of every program, with the standard library alone.

manifest      `manifest.json` and `_SUCCESS`: what a finished data set is
serving       `serving.json`: what an exported model's folder holds
budget        the arithmetic of the byte budget: what a row costs
integrity     checks that files are those that the manifest names
json_codec    dataclasses to JSON and back, every type checked
atomic_files  files that appear whole or not at all
file_lock     locks that end with their process
errors        the errors that users can fix, and words for what the system refuses
signals       SIGINT, SIGTERM and SIGHUP: deferred, or an exception
terminal      prints so that a terminal shows and does not obey; a notebook's bar
program       runs a command so that it ends in one message and an exit code
memory        sizes such as 256MiB, how much memory there is, and what data takes in it
version       the program's version
"""
