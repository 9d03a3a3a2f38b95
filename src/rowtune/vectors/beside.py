"""Files that belong together: a table and its words, and the folders that libraries save."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from rowtune.errors import FormatError
from rowtune.tables.pickles import ROW_FILES
from rowtune.vectors.source import Source

_LISTS = (".words.txt", ".vocab")
TOKENIZER = "tokenizer.json"
_SPACY = "vectors", "key2row", "strings.json"
_PROJECTOR = {"vectors.tsv": "metadata.tsv", "tensors.tsv": "metadata.tsv"}


def words_beside(source: Source) -> Source:
    """The source with the files of its words, if any lie beside a file of rows only."""
    path = source.path
    if path.name == _SPACY[0] and path.with_name(_SPACY[1]).is_file():
        return _of_spacy(source.name, path.parent)
    found = next((words for words in _candidates(path) if words.is_file()), None)
    return dataclasses.replace(source, words=found)


def _candidates(path: Path) -> Iterator[Path]:
    if path.suffix == ".tsv":
        yield metadata_for(path)
        yield path.with_name(path.name.removesuffix(".tsv") + "_metadata.tsv")
    if path.suffix not in (".npy", ".safetensors"):
        return
    yield from (path.with_suffix(suffix) for suffix in _LISTS)
    for ending in ROW_FILES:  # X.kv.vectors.npy: the words of X.kv
        if path.name.endswith(ending):
            base = path.name.removesuffix(ending)
            yield from (path.with_name(base + suffix) for suffix in _LISTS)
    if path.suffix == ".safetensors":
        yield path.with_name(TOKENIZER)


def metadata_for(path: Path) -> Path:
    """Where the words of a projector's table are: ``metadata.tsv`` of ``vectors.tsv``,
    ``X_metadata.tsv`` of ``X_tensor.tsv`` (gensim's names), else ``X.metadata.tsv``."""
    if path.name in _PROJECTOR:
        return path.with_name(_PROJECTOR[path.name])
    if path.name.endswith("_tensor.tsv"):
        return path.with_name(path.name.removesuffix("tensor.tsv") + "metadata.tsv")
    return path.with_suffix(".metadata.tsv")


def table_in(name: str, folder: Path) -> Source:
    """The table of a folder as spaCy, model2vec, sentence-transformers or the projector have it.

    Raises
    ------
    FormatError
        If it holds no such table.
    """
    for place in (folder, folder / "vocab"):
        if (place / "vectors").is_file() and (place / "vectors.cfg").is_file():
            return _of_spacy(name, place)
        if (place / "vectors").is_file() and (place / "key2row").is_file():
            return _of_spacy(name, place)
    for place in (folder, *sorted(folder.glob("[0-9]_*"))):
        if (place / TOKENIZER).is_file() and (file := _tensors_in(name, place)):
            return Source(name, file, words=place / TOKENIZER)
    for rows in _PROJECTOR:
        if (folder / rows).is_file():
            return words_beside(Source(name, folder / rows))
    raise FormatError(
        f"{name}: a folder without a table that Rowtune knows; expected a file of vectors, or a "
        "folder of spaCy (vectors, key2row, strings.json), of model2vec or sentence-transformers "
        "(model.safetensors, tokenizer.json), or of the projector (vectors.tsv, metadata.tsv)"
    )


def _tensors_in(name: str, folder: Path) -> Path | None:
    files = sorted(folder.glob("*.safetensors"))
    if (folder / "model.safetensors") in files:
        return folder / "model.safetensors"
    if len(files) > 1:
        listing = ", ".join(file.name for file in files[:10])
        raise FormatError(
            f"{name}: a folder with {len(files)} .safetensors files; name the one with the table, "
            f"e.g. {files[0]}: {listing}"
        )
    return files[0] if files else None


def _of_spacy(name: str, folder: Path) -> Source:
    rows, key2row, strings = (folder / file for file in _SPACY)
    settings = folder / "vectors.cfg"
    if settings.is_file() and b"floret" in settings.read_bytes()[:1000]:
        raise FormatError(
            f"{name}: a floret table, whose rows belong to hashes of spelling and to no words; "
            "expected one with a row per word (mode 'default'). In spaCy, write the words you want "
            "as text: word and nlp.vocab[word].vector"
        )
    for file in (key2row, strings):
        if not file.is_file():
            raise FormatError(
                f"{name}: spaCy's vectors without {file.name}, which says whose rows they are; "
                f"expected {file}: save the pipeline again with nlp.to_disk(FOLDER)"
            )
    return Source(name, rows, words=strings, key2row=key2row)
