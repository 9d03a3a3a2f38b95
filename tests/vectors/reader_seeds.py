"""Small whole files of every format that is read, made here: seeds to damage."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import safetensors.numpy

from rowtune.vectors.murmur import murmur_one

WORDS = ["the", "naïve", "cat", "日本", "dogs", "</s>"]
ROWS = np.random.default_rng(7).normal(size=(6, 3)).astype(np.float32)
Files = dict[str, bytes]


def text(header: bytes = b"") -> bytes:
    lines = [
        " ".join([w, *map(repr, row.tolist())]) + "\n" for w, row in zip(WORDS, ROWS, strict=True)
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


def seeds() -> dict[str, Files]:
    """Files by the name of their seed; the first is what to load, "" for the whole folder."""
    raw = [word.encode() for word in WORDS]
    model = np.random.default_rng(8).normal(size=(16, 3)).astype(np.float32)
    listing = "".join(word + "\n" for word in WORDS).encode()
    own = np.frombuffer(listing.replace(b"\n", b""), np.uint8)
    offsets = np.cumsum([0, *map(len, raw)])
    frame = pa.Codec("zstd").compress(text(), asbytes=True)
    return {
        "GloVe": {"v.txt": text()},
        "word2vec": {"v.vec": text(b"6 3\n")},
        "trailing": {"v.vec": text(b"6 3\n").replace(b"\n", b" \n")},
        "binary": {"v.bin": binary()},
        "newlines": {"v.bin": binary(b"\n")},
        "gz": {"v.gz": gzip.compress(text(), mtime=0)},
        "bz2": {"v.bz2": bz2.compress(text())},
        "xz": {"v.xz": lzma.compress(text())},
        "zst": {"v.zst": frame},
        "zip": {"v.zip": archive({"v.txt": text()})},
        "zip of bz2": {"v.zip": archive({"v.txt": text()}, zipfile.ZIP_BZIP2)},
        "npy": {"v.npy": npy(ROWS), "v.words.txt": listing},
        "npz": {"v.npz": npz(matrix=ROWS, words=np.array(WORDS))},
        "npz of bytes": {"v.npz": npz(m=ROWS.astype(">f8"), w=np.array(raw))},
        "safetensors": {"v.safetensors": tensors(matrix=ROWS, words=own, words_offsets=offsets)},
        "fastText": {"v.bin": fasttext(raw, model)},
        "fastText 11": {"v.bin": fasttext(raw, model, version=11, model=3, labels=[b"__label__a"])},
        "fastText 0": {"v.bin": fasttext(raw, model, version=0)},
        "spaCy": {"": b"", **spacy(WORDS, [0, 1, 2, 3, 1, 5], ROWS)},
        "model2vec": {"": b"", "model.safetensors": tensors(embeddings=ROWS),
                      "tokenizer.json": tokenizer()},
        "mapped": {"": b"", "model.safetensors": tensors(embeddings=ROWS[:3],
                   mapping=np.array([0, 1, 2, 2, 1, 0])), "tokenizer.json": tokenizer("Unigram")},
        "projector": {"vectors.tsv": values(), "metadata.tsv": listing},
    }  # fmt: skip
