"""`rowtune.torch.distributed` on two and on three processes, beside one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from placed_cases import CASES, EXTRA, TRAIN, D, N

import rowtune
import rowtune.torch as rt
from rowtune.patch_file import read_patches
from rowtune.torch.distributed import LazyEmbedding

IDS = {"words": sorted(TRAIN), "extra": sorted(EXTRA)}


@pytest.fixture(params=CASES)
def ended(request, ranks, folder):
    """A case, what each rank ended with, and what one process ends with."""
    found = [theirs[request.param] for theirs in ranks]
    for theirs in found:
        assert "failure" not in theirs, theirs["failure"]
    alone = torch.load(folder / f"alone for {len(ranks)}", weights_only=True)[request.param]
    return CASES[request.param], found, alone


def whole(found, table, name):
    """An array of a table, from the shards of all ranks or the first rank's own."""
    shards = [theirs["shards"][table] for theirs in found]
    parts = [s["arrays"][name] for s in shards]
    return parts[0] if len(parts[0]) == shards[0]["total"] else torch.cat(parts)


def test_they_do_what_one_process_does(ended):
    case, found, alone = ended
    for theirs in found:
        torch.testing.assert_close(theirs["head"], alone["head"], rtol=1e-4, atol=1e-5)
    compared = 0
    for key, expected in alone.items():
        table, _, name = key.partition(".")
        if table == "head" or (name == "steps" and case.how == "torchrec"):
            continue
        got = whole(found, table, name).reshape(expected.shape)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5, msg=key)
        compared += 1
    assert compared >= (2 if case.rule != "sgd" or case.extra else 1)
    start = rt.Embedding.from_pretrained(np.zeros((N, D), np.float32), train=TRAIN).block
    assert not torch.equal(alone["words.rows"], start)


def test_each_rank_has_its_part_and_says_which(ended):
    case, found, _ = ended
    for table in ("words", "extra") if case.extra else ("words",):
        total, ranks = len(IDS[table]), len(found)
        each = -(-total // ranks)
        for rank, theirs in enumerate(found):
            shard = theirs["shards"][table]
            assert theirs["how"][table] == case.how and shard["total"] == total
            begin = min(total, rank * each) if case.how == "torchrec" else 0
            count = min(total, begin + each) - begin if case.how == "torchrec" else total
            assert shard["begin"] == begin and len(shard["arrays"]["rows"]) == count
            assert all(len(array) == count for array in shard["arrays"].values())
            assert shard["facts"] | {"fingerprint": ""} == {
                "rule": case.rule, "shape": f"{N} x {D}", "dtype": "float32", "fingerprint": "",
            }  # fmt: skip
    names = found[0]["parameters"]
    assert "head.weight" in names and ("words.block" in names) == (case.how == "ddp")


def test_the_base_keeps_its_bytes_on_every_rank(ended, folder):
    import hashlib

    _, found, _ = ended
    table = np.load(folder / "table.npy")
    assert np.isnan(table[33]).all() and np.signbit(table[34]).all()
    expected = hashlib.sha256(table.tobytes()).hexdigest()
    for theirs in found:
        assert theirs["base"] == [expected, expected]


def test_the_file_of_all_ranks_is_a_patch(ended, folder):
    """Of one table, or of both: read by who reads the patch of one process."""
    case, found, _ = ended
    name = next(name for name, other in CASES.items() if other is case)
    path, table = folder / f"{len(found)} {name}.safetensors", np.load(folder / "table.npy")
    patches = read_patches(path)
    assert list(patches) == (["words", "extra"] if case.extra else [""])
    for label, patch in patches.items():
        of = label or "words"
        assert patch.ids.tolist() == IDS[of] and patch.shape == (N, D)
        assert np.array_equal(patch.rows, whole(found, of, "rows").numpy())
        for key, array in patch.state.items():
            assert np.array_equal(array, whole(found, of, f"state.{key}").numpy())
    if not case.extra:
        patched = rowtune.apply_patch(table, path)
        frozen = np.setdiff1d(np.arange(N), TRAIN)
        assert patched[frozen].tobytes() == table[frozen].tobytes()
        assert np.array_equal(patched[sorted(TRAIN)], whole(found, "words", "rows").numpy())
        model = rt.Embedding.from_pretrained(table, train=TRAIN)
        rt.load_patch(model, path)
        assert torch.equal(model.block.detach(), whole(found, "words", "rows"))


# --- what is refused -----------------------------------------------------------------------------


def of(ranks, name):
    found = [theirs[name] for theirs in ranks]
    for theirs in found:
        assert not (isinstance(theirs, dict) and "failure" in theirs), theirs["failure"]
    return found


@pytest.mark.parametrize("how", ["ddp", "torchrec"])
def test_a_wrong_id_on_one_rank_raises_on_all_and_moves_nothing(ranks, how):
    found = of(ranks, f"bad ids, {how}")
    for rank, theirs in enumerate(found):
        *ids, other = theirs["errors"]
        for kind, text in ids:
            assert kind == "IdError"
            assert (f"rank {len(found) - 1} " in text) == (rank < len(found) - 1)
        assert other[0] == ("AnotherRankFailed" if rank else "TypeError")
        assert theirs["same"]
    # The table goes on afterwards; each of two rows is on some rank.
    assert all(any(theirs["moved"][table] for theirs in found) for table in (0, 1))


def test_ranks_that_look_up_in_different_modes_raise(ranks):
    for kind, text in of(ranks, "grad modes"):
        assert kind == "RuleError" and "under no_grad, and others with gradients" in text


def test_rows_that_would_move_twice_in_a_step_are_refused(ranks):
    for theirs in of(ranks, "twice"):
        for name in ("in one pass", "another order"):
            assert theirs[name][0] == "RuleError" and "looked up twice" in theirs[name][1]
        assert theirs["same"] and theirs["without gradients"] == ""
        assert theirs["accumulated"][0] == "RuleError"
        assert "before optimizer.step()" in theirs["accumulated"][1]
        assert theirs["after a step"][0] == ""


def test_ranks_that_were_not_given_the_same_raise_everywhere(ranks):
    wanted = {
        "shape": "the shape of 0 is 40 x 4 on rank 0 and 39 x 4 on rank 1",
        "train ids": "the hash of the train ids of 0 is ",
        "fingerprint": "the fingerprint of the base of 0 is ",
        "the rule": "rule is sgd on rank 0 and adagrad on rank 1",
        "hyper": "the hyper-parameters is ",
        "how": "how is torchrec on rank 0 and ddp on rank 1",
        "unknown": "there is no rule 'sdg'",
    }
    for theirs in of(ranks, "disagreements"):
        assert theirs.keys() == wanted.keys()
        for name, (kind, text) in theirs.items():
            assert kind == "RuleError" and wanted[name] in text, name


def test_the_choice_follows_the_memory_and_says_why(ranks):
    few = 11 * (4 * D + 4 + 4)
    for theirs in of(ranks, "choices"):
        how, why, shown = theirs["enough"]
        assert how == "ddp" and f"take {few} bytes" in why and why in shown
        how, why, shown = theirs["too little"]
        assert how == "torchrec" and f"more than the {few - 1} bytes" in why and why in shown
        how, why, _ = theirs["default"]
        ranks_here = f"divided by the {len(ranks)} ranks"
        assert how == "ddp" and "half of all memory" in why and ranks_here in why
        assert theirs["two tables"] == {"large": "torchrec", "small": "ddp"}


def test_what_torchrec_lacks_is_refused_with_what_it_has(ranks):
    wanted = {
        "no adam": "have sgd, adagrad, rowwise_adagrad on the CPU, and no adam",
        "adam asked for": "have sgd, adagrad, rowwise_adagrad on the CPU, and no adam",
        "decay": "weight_decay=0.1 would be ignored",
        "lr_decay": "lr_decay=0.1 would be ignored",
        "catch_up": "catch_up=True is not there",
        "double": "float64",
        "nowhere": "start more ranks, or give worker_memory",
        "meta": "a LazyEmbedding in its place",
        "no table": "no rowtune.torch.Embedding",
        "no_sync": "move in every backward pass",
        "weight": "none has the whole matrix",
        "not yet": "distribute(model, ...)",
    }
    for theirs in of(ranks, "choices"):
        for name, text in wanted.items():
            assert theirs[name][0] == "RuleError" and text in theirs[name][1], name


def test_each_rank_makes_its_own_rows_and_the_same_as_any_other_number_of_ranks(ranks):
    found = of(ranks, "first rows")
    whole_tables = {
        "normal": LazyEmbedding(70_001, D, init="normal", seed=7).whole().weight,
        "kaiming": LazyEmbedding(70_001, D, init="kaiming", seed=7).whole().weight,
    }
    each = -(-70_001 // len(found))
    for rank, theirs in enumerate(found):
        for init, (begin, rows) in ((k, v) for k, v in theirs.items() if k not in ("made", "few")):
            last = min(70_001, begin + each)
            assert begin == rank * each and len(rows) == last - begin
            if init in whole_tables:
                assert torch.equal(rows, whole_tables[init][begin:last])
            else:
                assert torch.equal(rows, torch.arange(begin, last)[:, None] * torch.ones(D))
        assert len(theirs["made"]) == 3
        assert all(begin <= a < b <= last for a, b in theirs["made"])
        assert theirs["few"][0] == "RuleError" and "leave none for the last" in theirs["few"][1]
    assert 0.9 < float(whole_tables["normal"].detach().std()) < 1.1


def test_a_file_that_cannot_be_written_raises_on_every_rank(ranks):
    for theirs in of(ranks, "patches"):
        assert theirs["no folder"][0] == "FileNotFoundError"
        assert theirs["no base"][0] == "PatchError" and "has no base" in theirs["no base"][1]


def test_the_room_opens_without_torchrec(folder):
    assert torch.load(folder / "light")["light"]
    code = "import rowtune.torch.distributed, sys; print('torchrec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
