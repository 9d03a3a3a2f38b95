"""A classifier that learns rows for words a table lacks, compared with other ways."""

from rowtune.adapt.labelled import Labelled, read_labelled
from rowtune.adapt.result import Adaptation, Difference, WayScore
from rowtune.adapt.run import adapt

__all__ = ["Adaptation", "Difference", "Labelled", "WayScore", "adapt", "read_labelled"]
