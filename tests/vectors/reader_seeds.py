"""Small whole files of every format that is read, made here: seeds to damage."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import safetensors.numpy

from rowtune.patch import Patch
from rowtune.patch_file import write_patch, write_patches
from rowtune.vectors.murmur import murmur_one

WORDS = ["the", "naïve", "cat", "日本", "dogs", "</s>"]
SPACED = ["the", ". . .", "at name@domain.com", "日本", "dogs", "1 2"]  # as GloVe 840B has them
ROWS = np.random.default_rng(7).normal(size=(6, 3)).astype(np.float32)
Files = dict[str, bytes]


def text(header: bytes = b"", words: Sequence[str] = WORDS) -> bytes:
    lines = [
        " ".join([w, *map(repr, row.tolist())]) + "\n" for w, row in zip(words, ROWS, strict=True)
    ]
    return header + "".join(lines).encode()


def values() -> bytes:
    return "".join("\t".join(map(repr, row)) + "\n" for row in ROWS.tolist()).encode()


def binary(newline: bytes = b"") -> bytes:
    rows = [w.encode() + b" " + row.tobytes() + newline for w, row in zip(WORDS, ROWS, strict=True)]
    return b"6 3\n" + b"".join(rows)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def archive(members: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in members.items():
            out.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def fasttext(
    words: Sequence[bytes],
    inputs: np.ndarray,
    *,
    minn: int = 2,
    maxn: int = 3,
    bucket: int = 10,
    version: int = 12,
    model: int = 2,
    labels: Sequence[bytes] = (),
    quantized: bool = False,
    pruned: int = -1,
) -> bytes:
    """A model as fastText saves it, up to the input matrix; version 0 is the oldest layout."""
    new = version > 0
    size = len(words) + len(labels)
    settings = (inputs.shape[1], 5, 5, 1, 5, 1, 2, model, bucket, minn, maxn, 100, 1e-4)
    parts = [
        struct.pack("<2i", 793712314, version) if new else b"",
        struct.pack("<12id", *settings),
    ]
    parts.append(struct.pack("<3iq", size, len(words), len(labels), 1000))
    parts.append(struct.pack("<q", pruned) if new else b"")
    for kind, entries in enumerate((words, labels)):
        parts += [word + b"\0" + struct.pack("<qb", 7, kind) for word in entries]
    parts.append(bytes(8 * max(0, pruned)))
    parts.append(struct.pack("<?", quantized) if new else b"")
    parts += [struct.pack("<2q", *inputs.shape), inputs.astype("<f4").tobytes()]
    return b"".join(parts)


def msgpack_map(pairs: Sequence[tuple[int, int]]) -> bytes:
    """Integers of every width that MessagePack has, each as short as it goes."""
    count = len(pairs)
    head = bytes([0x80 | count]) if count < 16 else b"\xde" + struct.pack(">H", count)
    return head + b"".join(_integer(x) for pair in pairs for x in pair)


def _integer(x: int) -> bytes:
    if -32 <= x < 128:
        return struct.pack("b", x)
    for code, layout, limit in ((0xCC, "B", 8), (0xCD, "H", 16), (0xCE, "I", 32), (0xCF, "Q", 64)):
        if 0 <= x < 1 << limit:
            return bytes([code]) + struct.pack(">" + layout, x)
    return b"\xd0" + struct.pack(">b", x)


def spacy(words: Sequence[str], ids: Sequence[int], rows: np.ndarray) -> Files:
    """A folder as spaCy's ``vocab`` is."""
    keys = [murmur_one(word.encode(), 1) for word in words]
    return {
        "vectors": npy(rows),
        "key2row": msgpack_map(list(zip(keys, ids, strict=True))),
        "strings.json": json.dumps(sorted(words)).encode(),
        "vectors.cfg": b'{"mode":"default"}',
    }


def tokenizer(kind: str = "WordPiece", words: Sequence[str] = WORDS) -> bytes:
    """A tokenizer.json with what matters here."""
    unigram = [[word, -1.0] for word in words]
    vocabulary = unigram if kind == "Unigram" else {word: i for i, word in enumerate(words)}
    model = {"type": kind, "vocab": vocabulary}
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model}).encode()


def tensors(**arrays: np.ndarray) -> bytes:
    return safetensors.numpy.save({k.replace("__", "."): v for k, v in arrays.items()})


def model_with_table(words: Sequence[str], kind: str, **tensors_of: np.ndarray) -> Files:
    """Tensors and the tokenizer that names the rows, as they lie in one folder."""
    return {"model.safetensors": tensors(**tensors_of), "tokenizer.json": tokenizer(kind, words)}


def within(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": data for name, data in files.items()}


def seeds() -> dict[str, Files]:
    """Files by the name of their seed; the first is what to load, "" for the whole folder.

    The first word of a name is that of the reader: `readers` puts those of one together.
    """
    raw = [word.encode() for word in WORDS]
    model = np.random.default_rng(8).normal(size=(16, 3)).astype(np.float32)
    listing = "".join(word + "\n" for word in WORDS).encode()
    counted = "".join(f"{word} {9 - i}\n" for i, word in enumerate(WORDS)).encode()
    columns = "".join(f"{i}\t{word}\n" for i, word in enumerate(WORDS)).encode()
    own = np.frombuffer(listing.replace(b"\n", b""), np.uint8)
    offsets = np.cumsum([0, *map(len, raw)])
    frame = pa.Codec("zstd").compress(text(), asbytes=True)
    pickle = b"\x80\x04\x95\x10\0\0\0\0\0\0\0."  # nobody opens it
    ids = np.array([0, 1, 2, 2, 1, 0])
    return {
        "GloVe": {"v.txt": text()},
        "GloVe spaces": {"v.txt": text(words=SPACED)},
        "GloVe lines of Windows": {"v.txt": text().replace(b"\n", b"\r\n")},
        "word2vec": {"v.vec": text(b"6 3\n")},
        "word2vec trailing": {"v.vec": text(b"6 3\n").replace(b"\n", b" \n")},
        "binary": {"v.bin": binary()},
        "binary newlines": {"v.bin": binary(b"\n")},
        "gz": {"v.gz": gzip.compress(text(), mtime=0)},
        "bz2": {"v.bz2": bz2.compress(text())},
        "xz": {"v.xz": lzma.compress(text())},
        "zst": {"v.zst": frame},
        "zip": {"v.zip": archive({"v.txt": text()})},
        "zip of bz2": {"v.zip": archive({"v.txt": text()}, zipfile.ZIP_BZIP2)},
        "npy": {"v.npy": npy(ROWS), "v.words.txt": listing},
        "npy big-endian": {"v.npy": npy(np.asfortranarray(ROWS.astype(">f8"))), "v.vocab": counted},
        "gensim": {"m.kv": pickle, "m.kv.vectors.npy": npy(ROWS), "m.kv.words.txt": listing},
        "gensim vocab": {"m.kv": pickle, "m.kv.vectors.npy": npy(ROWS), "m.kv.vocab": counted},
        "npz": {"v.npz": npz(matrix=ROWS, words=np.array(WORDS))},
        "npz of bytes": {"v.npz": npz(m=ROWS.astype(">f8"), w=np.array(raw))},
        "safetensors": {"v.safetensors": tensors(matrix=ROWS, words=own, words_offsets=offsets)},
        "safetensors of a model": {
            "v.safetensors": tensors(wte__weight=ROWS, lm_head=ROWS), "v.words.txt": listing},
        "fastText": {"v.bin": fasttext(raw, model)},
        "fastText 11": {"v.bin": fasttext(raw, model, version=11, model=3, labels=[b"__label__a"])},
        "fastText 0": {"v.bin": fasttext(raw, model, version=0)},
        "spaCy": {"": b"", **spacy(WORDS, [0, 1, 2, 3, 1, 5], ROWS)},
        "spaCy pipeline": {"": b"", **within("vocab", spacy(WORDS, [5, 4, 3, 2, 1, 0], ROWS))},
        "model2vec": {"": b"", **model_with_table(WORDS, "WordPiece", embeddings=ROWS)},
        "model2vec mapped": {
            "": b"", **model_with_table(WORDS, "Unigram", embeddings=ROWS[:3], mapping=ids)},
        "sentence-transformers": {
            "": b"", **within("0_StaticEmbedding",
                              model_with_table(WORDS, "BPE", embedding__weight=ROWS))},
        "projector": {"vectors.tsv": values(), "metadata.tsv": listing},
        "projector of gensim": {"m_tensor.tsv": values(),
                                "m_metadata.tsv": b"id\tword\n" + columns},
    }  # fmt: skip


def readers() -> dict[str, list[Files]]:
    """The seeds of each reader."""
    found: dict[str, list[Files]] = {}
    for name, files in seeds().items():
        found.setdefault(name.split()[0], []).append(files)
    return found


def lay(folder: Path, files: Files) -> Path:
    """Write the files, in folders of their own where their names say so; what is to be loaded."""
    for name, data in files.items():
        if name:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    return folder / next(iter(files))


def patches() -> list[Files]:
    """Files of trained rows: of a table with words, and of two tables, one with state."""
    rows, ids = ROWS[[0, 2]], np.array([1, 7])
    one = Patch(ids, rows, "00" * 32, (8, 3), 6, tokens=["naïve", "frog"])
    state = {"m": rows * 0, "v": rows * 0}
    other = Patch(ids, rows[:, :1], "11" * 32, (9, 3), 9, columns=np.array([2]), rule="adam",
                  steps=np.array([3, 1], np.int32), state={k: v[:, :1] for k, v in state.items()},
                  frozen="22" * 32)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.safetensors")
        write_patch(one, path)
        first = path.read_bytes()
        write_patches({"one": one, "other": other}, path)
        return [{path.name: first}, {path.name: path.read_bytes()}]
