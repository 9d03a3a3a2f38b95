"""Sentences that people rated: fetched once from a package's source archive, and read from it.

vaderSentiment (MIT) carries the data of Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model
for Sentiment Analysis of Social Media Text", ICWSM 2014: snippets of movie reviews, of Amazon
reviews, of editorials, and tweets, each with the mean of some twenty ratings from -4 to 4.
"""

from __future__ import annotations

import html
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from package_file import PackageFile

PACKAGE, VERSION = "vaderSentiment", "3.3.2"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
DATA_IN_ARCHIVE = f"{PACKAGE}-{VERSION}/additional_resources/hutto_ICWSM_2014.tar.gz"

# Editorials are left out of both: most of their sentences report, few judge.
DATA_SETS = {
    "reviews": ("movieReviewSnippets", "amazonReviewSnippets"),
    "tweets": ("tweets",),
}
NEUTRAL = 0.5  # a mean rating nearer to zero than this is no label

# In tweets a smiley is a word, and often one that no table has.
_TOKEN = re.compile(
    r"[:;=]'?-?[)(\]\[dp/|*](?!\w)|<3"
    r"|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't\b)"  # clitics stand alone in GloVe
    r"|\w+(?:-\w+)*|\.\.\.|[^\w\s]"
)
# Not the writers' words: the data's authors put these for user names and addresses.
_STAND_INS = re.compile(r"@anonymous|http://url_removed")


@dataclass(frozen=True)
class Sentence:
    tokens: list[str]
    positive: bool


def read(data_set: str) -> list[Sentence]:
    """The sentences of ``"reviews"`` or ``"tweets"`` that are not near-neutral, each text once."""
    ratings: dict[str, float] = {}  # a text that comes twice could be in training and test
    # Both archives are read where they lie: nothing is unpacked and nothing in them is run.
    with (
        tarfile.open(archive()) as source,
        tarfile.open(fileobj=source.extractfile(DATA_IN_ARCHIVE)) as data,
    ):
        for name in DATA_SETS[data_set]:
            table = data.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            for line in table.read().decode().splitlines():
                _, rating, text = line.split("\t")
                ratings.setdefault(text, float(rating))
    return [
        Sentence(tokens, rating > 0)
        for text, rating in ratings.items()
        if abs(rating) >= NEUTRAL and (tokens := tokenize(text))
    ]


def tokenize(text: str) -> list[str]:
    """Lower-case tokens such as GloVe's: ``don't`` is ``do n't``, but ``:-)`` is one."""
    text = _STAND_INS.sub(" ", html.unescape(text).lower()).replace("''", '"')
    return _TOKEN.findall(text)


def archive() -> Path:
    """The source archive in the user's cache, fetched if it is not there yet."""
    holds = "2.5 MB of rated sentences"
    kept = PackageFile(PACKAGE, VERSION, ARCHIVE, SHA256, "source archive", holds)
    return kept.path("examples")
