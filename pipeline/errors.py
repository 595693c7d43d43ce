"""What can go wrong through no fault of the program.

FaeError                 every mistake that a user can mend; printed without a traceback
├── LogError             a log cannot be read, or has too many malformed lines
├── SchemaError          a schema file or a preset's name is wrong
├── ParameterError       an option or a parameter is out of range
├── BudgetError          the byte budget cannot hold even the rows that must be hot
├── StorageError         a folder or an object store cannot be reached, read or written
├── DatasetError         a data set or a stage's output is absent, unfinished or damaged
└── ClusterError         the machines that do the work are gone; what they finished is kept
"""


class FaeError(ValueError):
    """A mistake that the user can mend; the message says where, what was found and the remedy."""


class LogError(FaeError):
    """A log cannot be read, or has too many malformed lines."""


class SchemaError(FaeError):
    """A schema file or a preset's name is wrong."""


class ParameterError(FaeError):
    """An option or a parameter is out of range."""


class BudgetError(FaeError):
    """The byte budget cannot hold even the rows that must be hot."""


class StorageError(FaeError):
    """A folder or an object store cannot be reached, read or written."""


class DatasetError(FaeError):
    """A data set or a stage's output is absent, unfinished or damaged."""


class ClusterError(FaeError):
    """The machines that do the work are gone; what they finished is kept for the next run."""
