"""The parts of a compound, where a table knows them all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

_SHORTEST = 4  # of a part of a word written as one: shorter ones are found in any word


def parts_known(
    word: str, known: Callable[[str], bool], frequent: Collection[str]
) -> tuple[str, ...]:
    """The parts of ``word`` as the table has them; () if it is no compound of known words.

    Parts are what marks (``os.path``, ``snake_case``), capitals (``DataFrame``, ``HTTPServer``) and
    digits set apart; at least two have letters. A word without such borders is a compound of two
    words only if both are frequent and have four letters or more (``keyword``): any word can be cut
    into rare ones.

    Parameters
    ----------
    word : str
        As it is written.
    known : callable
        Whether the table has a form.
    frequent : collection of str
        The words that a closed compound may be made of.
    """
    pieces = [piece for piece in _pieces(word) if any(map(str.isalpha, piece))]
    if len(pieces) > 1:
        forms = [next(filter(known, (piece, piece.lower())), "") for piece in pieces]
        return tuple(forms) if all(forms) else ()
    folded = word.lower()
    middle = len(word) / 2
    cuts = range(_SHORTEST, len(word) - _SHORTEST + 1)
    for cut in sorted(cuts, key=lambda cut: abs(cut - middle)):
        if folded[:cut] in frequent and folded[cut:] in frequent:
            return folded[:cut], folded[cut:]
    return ()


def _pieces(word: str) -> Iterator[str]:
    """Runs of letters or of digits, cut where a capital begins a word."""
    start = 0
    for at in range(1, len(word) + 1):
        if at == len(word) or _is_border(word, at):
            if word[start].isalnum():
                yield word[start:at]
            start = at


def _is_border(word: str, at: int) -> bool:
    before, after = word[at - 1], word[at]
    if before.isalnum() != after.isalnum() or before.isdigit() != after.isdigit():
        return True
    if before.isupper() and after.isupper():  # the S of HTTPServer
        return at + 1 < len(word) and word[at + 1].islower()
    return before.islower() and after.isupper()
