"""Sentences that people rated: fetched once from a package's source archive, and read from it.

vaderSentiment (MIT) carries the data of Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model
for Sentiment Analysis of Social Media Text", ICWSM 2014: snippets of movie reviews, of Amazon
reviews, of editorials, and tweets, each with the mean of some twenty ratings from -4 to 4.
"""

from __future__ import annotations

import hashlib
import html
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

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
    chosen = os.environ.get("ROWTUNE_CACHE_DIR")
    folder = Path(chosen or platformdirs.user_cache_dir("rowtune")) / "examples"
    path = folder / ARCHIVE
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside its place, then renamed: whoever looks there sees a whole archive or none.
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            _download(Path(fresh)).replace(path)
    return path


def _download(folder: Path) -> Path:
    """Let pip fetch the archive into ``folder``.

    pip asks a source archive for its metadata by running its setup.py, and there is no way to tell
    it not to. So the hash goes along: pip compares it first, and of what does not match it runs
    nothing.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", PACKAGE, "--dest", str(folder), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{ARCHIVE} (2.5 MB of rated sentences) could not be fetched. It needs pip and the "
            "network, once. If this machine has neither, put the archive from "
            f"https://pypi.org/project/{PACKAGE} into {folder.parent}\n\n{done.stderr.strip()}"
        )
    return folder / ARCHIVE
