"""Every error that Rowtune raises on purpose.

Each is also the built-in error that a reader expects (`ValueError`, `IndexError`, ...), so
existing ``except`` clauses keep working. A message says what came, what was expected, and what to
do instead.
"""


class RowtuneError(Exception):
    """Base of all errors below: catch it to catch exactly what Rowtune refuses."""


class IdError(RowtuneError, IndexError):
    """An id that is negative, out of range, repeated where it may not be, or not an integer."""


class FrozenRowError(RowtuneError, ValueError):
    """A write that names a row which was not chosen for training."""


class ShapeError(RowtuneError, ValueError):
    """An array whose shape or dtype does not fit the table or the ids that came with it."""


class NonFiniteError(RowtuneError, ValueError):
    """A gradient with NaN or infinity in it."""


class RuleError(RowtuneError, ValueError):
    """An unknown rule, or a hyper-parameter that the rule does not take."""


class PatchError(RowtuneError, ValueError):
    """A patch that is damaged, belongs to another base, or overlaps with another patch."""


class FormatError(RowtuneError, ValueError):
    """A file that cannot be read, or a format that cannot be written; names file and cure."""


class CorpusError(RowtuneError, ValueError):
    """A corpus that is missing, empty, or holds nothing to learn from."""


class CheckpointError(RowtuneError, ValueError):
    """A save that failed or is damaged, or one that does not fit the tables it is loaded into."""
