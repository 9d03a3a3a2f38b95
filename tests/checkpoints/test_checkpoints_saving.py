"""Saves hold what has changed, in parts of any ranks, and load as the bits that they were."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import rowtune
from rowtune import checkpoints
from rowtune.checkpoints import Part, Saver, load, steps, tensors, verify, writing
from rowtune.errors import CheckpointError

N, D = 200, 5
WEIGHTS = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
TRAIN = np.arange(0, N, 2)


def make(**options):
    return rowtune.Table(WEIGHTS, **{"train": TRAIN, "rule": "adam", "lr": 0.1, **options})


def train(table, seed, count=1):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ids = rng.integers(0, len(table), 8)
        table.update(ids, rng.standard_normal((8, D), dtype=np.float32))


def bits(table):
    arrays = {**table.state, "rows": table.block, "steps": table.steps}
    return {name: array.tobytes() for name, array in arrays.items()}


def test_what_anybody_has_written_is_in_the_next_save(tmp_path):
    table, saver = make(), Saver(tmp_path)
    assert saver.save({"items": table}, step=0).kind == "full"
    table.set([4], np.full((1, D), -0.0))
    table.block[7, 1] = np.nan
    table.block.view(np.uint32)[9, 1] = 0x7FC01234
    table.state["m"][11, 0] = 1
    table.add([26], np.ones((1, D)))
    made = saver.save({"items": table}, step=1)
    assert (made.kind, made.rows) == ("incremental", 5)
    table.block.view(np.uint32)[9, 1] ^= 1  # another payload
    assert saver.save({"items": table}, step=2).rows == 1
    assert saver.save({"items": table}, step=3).rows == 0
    for step in (2, 3):
        twin = make()
        load(tmp_path, {"items": twin}, step=step)
        assert bits(twin) == bits(table)
    twin = make()
    load(tmp_path, {"items": twin}, step=2)
    assert bits(twin) == bits(table)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"catch_up": True},
        {"catch_up": True, "rule": "adamw", "lr_scale": np.linspace(0, 1, 100)},
        {"columns": [0, 3]},
        {"rule": "rowwise_adagrad", "train": "all"},
    ],
    ids=["adam", "catch_up", "row rates", "columns", "rowwise"],
)
def test_training_goes_on_as_if_it_had_not_been_saved(tmp_path, options):
    straight, table, saver = make(**options), make(**options), Saver(tmp_path, full_every=2)
    for step in range(5):
        train(table, step)
        train(straight, step)
        saver.save({"items": table}, step=step)
    twin = make(**options)
    load(tmp_path, {"items": twin})
    for step in range(5, 9):
        train(twin, step)
        train(straight, step)
    assert bits(twin) == bits(straight)
    twin.flush()
    straight.flush()
    assert bits(twin) == bits(straight)


def test_step_counts_far_beyond_a_new_tables_go_on(tmp_path):
    table = make()
    for _ in range(300):  # more than a new table's clock has been asked for
        table.update([0, 2], np.ones((2, D)))
    Saver(tmp_path).save({"items": table}, step=0)
    twin = make()
    load(tmp_path, {"items": twin})
    for each in (table, twin):
        each.update([0, 4], np.full((2, D), 0.5))
    assert bits(twin) == bits(table)


@pytest.mark.parametrize("options", [{}, {"columns": [1]}, {"catch_up": True}])
def test_a_table_that_was_grown(tmp_path, options):
    table, saver = make(**options), Saver(tmp_path)
    saver.save({"items": table}, step=0)
    table.grow(np.ones((3, D)))
    train(table, 0)
    assert saver.save({"items": table}, step=1).kind == "incremental"
    small = make(**options)
    before = bits(small)
    with pytest.raises(CheckpointError, match=r"103 rows .* has 100: .*grow\(3\)"):
        load(tmp_path, {"items": small})
    assert bits(small) == before
    small.grow(np.zeros((3, D)))
    with pytest.raises(CheckpointError, match="load before the table is grown"):
        load(tmp_path, {"items": small}, step=0)
    load(tmp_path, {"items": small})
    assert bits(small) == bits(table)
    assert small.weights.tobytes() == table.weights.tobytes()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"rule": "sgd"}, "rule 'adam', and this table has 'sgd'"),
        ({"catch_up": True}, "catch_up"),
        ({"train": TRAIN + 1}, "trainable"),
        ({"columns": [0]}, "trainable"),
        ({"lr_scale": np.ones(100)}, "the rule and the options"),
    ],
)
def test_another_table_is_refused_and_keeps_its_bits(tmp_path, other, said):
    Saver(tmp_path).save({"items": make()}, step=0)
    table = make(**other)
    before = bits(table)
    with pytest.raises(CheckpointError, match=said):
        load(tmp_path, {"items": table})
    assert bits(table) == before


def test_another_base_is_refused_unless_somebody_says_why_it_is_not_looked_at(tmp_path):
    Saver(tmp_path).save({"items": make()}, step=0)
    table = rowtune.Table(WEIGHTS + 1, train=TRAIN)
    with pytest.raises(CheckpointError, match="base"):
        load(tmp_path, {"items": table})
    load(tmp_path, {"items": table.checkpoint_part(unchecked_base="a test")})
    assert bits(table) == bits(make())


def test_names_extra_and_arrays_without_rows(tmp_path):
    extra = {"epoch": 3, "best": 0.1 + 0.2, "list": [1, None, True, "ä"], "inf": float("inf")}
    whole = {"a/b": np.arange(3, dtype=np.uint8), "scalar": np.array(2.5), "none": np.empty((0, 2))}
    tables = {"user/items": make(), "": make(rule="sgd"), 'ta"ble': make()}
    train(tables[""], 0)
    Saver(tmp_path).save(tables, step=7, extra=extra, whole=whole)
    twins = {"": make(rule="sgd"), "user/items": make()}  # not all need be loaded
    loaded = load(tmp_path, twins)
    assert (loaded.step, loaded.extra) == (7, extra)
    assert loaded.whole.keys() == whole.keys()
    for key, array in whole.items():
        got = loaded.whole[key]
        assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert bits(twins[""]) == bits(tables[""])
    with pytest.raises(CheckpointError, match="no table 'item'"):
        load(tmp_path, {"item": make()})


@pytest.mark.parametrize("extra", [{1: 2}, {"a": np.float32(1)}, [{"b": {1, 2}}]])
def test_extra_that_json_would_change_is_refused(tmp_path, extra):
    with pytest.raises(CheckpointError, match="extra"):
        Saver(tmp_path).save({"items": make()}, step=0, extra=extra)
    assert steps(tmp_path) == []


def test_files_in_pieces_are_safetensors_that_others_read(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 1000)
    monkeypatch.setattr(tensors, "PIECE", 64)
    table, saver = make(), Saver(tmp_path)
    train(table, 0)
    heard = []
    made = saver.save({"items": table}, step=0, progress=lambda *say: heard.append(say))
    files = sorted(made.path.glob("*.part*"), key=lambda p: int(p.name.split("part")[1][:-12]))
    assert len(files) > 5
    assert max(path.stat().st_size for path in files) < 2000
    read = [load_file(path) for path in files]
    assert np.concatenate([each["rows"] for each in read]).tobytes() == table.block.tobytes()
    assert {stage for stage, _, _ in heard} == {"hash", "write"}
    assert heard[-1][1] == heard[-1][2] > 0
    train(table, 1, 3)
    changed = saver.save({"items": table}, step=1)
    assert changed.kind == "incremental"
    slots = np.concatenate([load_file(p)["slots"] for p in changed.path.glob("*.part*")])
    assert len(slots) == changed.rows > 8
    heard.clear()
    twin = make()
    load(tmp_path, {"items": twin}, progress=lambda *say: heard.append(say))
    assert bits(twin) == bits(table)
    for stage in ("verify", "copy"):
        done = [say for say in heard if say[0] == stage]
        assert done[-1][1] == done[-1][2] > 0


# --- chains, retention, two savers ---------------------------------------------------------------


def test_chains_are_short_and_what_a_kept_save_needs_stays(tmp_path):
    table, saver = make(), Saver(tmp_path, keep=2, full_every=3)
    kinds, states = [], {}
    for step in range(8):
        train(table, step)
        kinds.append(saver.save({"items": table}, step=step).kind[0])
        states[step] = bits(table)
        there = steps(tmp_path)
        needed = {s for kept in (step - 1, step) for s in range(kept - kept % 3, kept + 1)}
        assert there == sorted(s for s in needed if s >= 0)
        for kept in {max(0, step - 1), step}:
            twin = make()
            load(tmp_path, {"items": twin}, step=kept)
            assert bits(twin) == states[kept]
    assert "".join(kinds) == "fiifiifi"
    assert verify(tmp_path) == []


def test_a_save_of_most_rows_is_full(tmp_path):
    table, saver = make(), Saver(tmp_path)
    saver.save({"items": table}, step=0)
    table.block[:51] += 1
    assert saver.save({"items": table}, step=1).kind == "full"
    table.block[:50] += 1
    assert saver.save({"items": table}, step=2).kind == "incremental"


def test_a_parent_that_somebody_has_removed_or_changed_is_not_built_upon(tmp_path):
    table, saver = make(), Saver(tmp_path)
    first = saver.save({"items": table}, step=0)
    (first.path / "manifest.json").unlink()
    assert saver.save({"items": table}, step=1).kind == "full"
    assert steps(tmp_path) == [0, 1], "the damaged one is left for somebody to look at"
    assert verify(tmp_path) == [f"{first.path / 'manifest.json'} is missing"]


def test_a_chain_with_a_gap_is_not_built_upon(tmp_path):
    table, saver = make(), Saver(tmp_path)
    for step in range(3):
        train(table, step)
        made = saver.save({"items": table}, step=step)
    assert made.kind == "incremental"
    shutil.rmtree(tmp_path / "00000001.step-0")
    with pytest.raises(CheckpointError, match=r"step-0 is missing; 00000003\.step-2 is made from"):
        load(tmp_path, {"items": make()})
    assert saver.save({"items": table}, step=3).kind == "full"
    load(tmp_path, {"items": make()})


def test_a_rank_that_knows_less_than_the_others_writes_all_that_it_has(tmp_path):
    arrays = {"rows": np.random.default_rng(0).standard_normal((90, 3))}
    known = {}

    def save(team, step):
        saver = Saver(tmp_path, team=team)
        if team.rank < 2:  # that of rank 2 is a new one each time
            saver._known = known.setdefault(team.rank, saver._known)
        return saver.save({"a": part(arrays, 3, team.rank)}, step=step)

    assert [each.rows for each in on_ranks(3, lambda team: save(team, 0))] == [90] * 3
    arrays["rows"][[1, 70]] = 5
    made = on_ranks(3, lambda team: save(team, 1))
    assert [(each.kind, each.rows) for each in made] == [("incremental", 31)] * 3
    twin = Part(90, 0, {"rows": np.zeros((90, 3))}, {"rule": "adam"})
    load(tmp_path, {"a": twin})
    assert twin.arrays["rows"].tobytes() == arrays["rows"].tobytes()


def test_two_savers_on_one_folder_are_told_apart(tmp_path):
    table = make()
    one, other = Saver(tmp_path), Saver(tmp_path)
    one.save({"items": table}, step=0)
    other.save({"items": table}, step=1)
    with pytest.raises(CheckpointError, match="saved by somebody else"):
        one.save({"items": table}, step=2)
    assert steps(tmp_path) == [0, 1]


def test_a_save_that_is_being_made_is_not_disturbed(tmp_path):
    table = make()
    there: list[list[str]] = []

    def another(*_: object) -> None:
        with pytest.raises(CheckpointError, match="another process is saving there now"):
            Saver(tmp_path).save({"items": table}, step=5)
        there.append([p.name for p in tmp_path.iterdir() if p.name.startswith(".new-")])

    Saver(tmp_path).save({"items": table}, step=0, progress=another)
    assert all(len(names) == 1 for names in there)
    assert len(there) > 2
    assert steps(tmp_path) == [0]


def test_a_step_may_come_again(tmp_path):
    table, saver = make(), Saver(tmp_path)
    saver.save({"items": table}, step=5)
    table.block[:] = 1
    saver.save({"items": table}, step=5)
    twin = make()
    load(tmp_path, {"items": twin}, step=5)
    assert bits(twin) == bits(table)


def test_a_failed_save_is_not_built_upon_nor_forgotten(tmp_path, monkeypatch):
    table, saver = make(), Saver(tmp_path)
    saver.save({"items": table}, step=0)
    table.block[3] += 1

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="No space left"):
        patch.setattr(tensors, "_write_all", full)
        saver.save({"items": table}, step=1)
    made = saver.save({"items": table}, step=1)
    assert (made.kind, made.rows) == ("incremental", 1)


# --- durability ----------------------------------------------------------------------------------


def test_every_byte_is_on_the_disk_before_a_save_has_its_name(tmp_path, monkeypatch):
    synced, renamed = [], []
    sync, rename = os.fsync, Path.rename

    def fsync(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def moved(path, target):
        renamed.append((str(path), str(target), list(synced)))
        return rename(path, target)

    table, saver = make(), Saver(tmp_path)
    saver.save({"items": table}, step=0)
    train(table, 0)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", moved)
    made = saver.save({"items": table}, step=1, whole={"a": np.ones(3)})
    (source, target, before) = renamed[0]
    names = {path.name for path in made.path.iterdir()}
    assert target == str(made.path)
    assert len(names) == 3
    assert {f"{source}/{name}" for name in names} <= set(before)
    assert before[-1] == source, "its folder after its files"
    assert str(tmp_path) in synced[len(before) :], "and the name itself"


# --- parts and ranks -----------------------------------------------------------------------------


class Together:
    """Ranks in threads."""

    def __init__(self, world):
        import threading

        self.world, self._said = world, [b""] * world
        self._barrier = threading.Barrier(world, timeout=20)

    def member(self, rank):
        team, outer = type("Member", (), {})(), self

        def gather(data):
            outer._said[rank] = data
            outer._barrier.wait()
            heard = list(outer._said)
            outer._barrier.wait()
            return heard

        team.rank, team.world, team.gather = rank, self.world, gather
        return team


def on_ranks(world, work):
    """``work(team)`` on so many ranks; what each returned or raised."""
    from concurrent.futures import ThreadPoolExecutor

    together = Together(world)
    with ThreadPoolExecutor(world) as pool:
        futures = [pool.submit(work, together.member(rank)) for rank in range(world)]
        return [future.exception(60) or future.result() for future in futures]


def part(arrays, world, rank, facts=None):
    total = len(arrays["rows"])
    begin, end = total * rank // world, total * (rank + 1) // world
    own = {name: array[begin:end] for name, array in arrays.items()}
    return Part(total, begin, own, facts or {"rule": "adam"})


@pytest.mark.parametrize("worlds", [(2, 1, 3), (3, 2, 1), (1, 3, 2)])
def test_ranks_of_any_number_load_what_others_have_saved(tmp_path, worlds):
    rng = np.random.default_rng(0)
    arrays = {"rows": rng.standard_normal((101, 3)), "steps": np.arange(101, dtype=np.int32)}
    for number, world in enumerate(worlds):
        arrays["rows"][number::7] += 1

        def save(team, number=number, world=world):
            saver, mine = Saver(tmp_path, team=team), {"items": part(arrays, world, team.rank)}
            full = saver.save(mine, step=2 * number)
            mine["items"].arrays["rows"][-2:] += 1
            return full.rows, saver.save(mine, step=2 * number + 1).rows

        assert on_ranks(world, save) == [(101, 2 * world)] * world
        after = worlds[(number + 1) % 3]
        twin = {name: np.zeros_like(array) for name, array in arrays.items()}

        def go_on(team, after=after, twin=twin, number=number):
            saver = Saver(tmp_path, team=team)
            mine = {"items": part(twin, after, team.rank)}
            assert saver.load(mine).step == 2 * number + 1
            return mine["items"].arrays["rows"].base is not None

        assert on_ranks(after, go_on) == [True] * after
        for name, array in arrays.items():
            assert twin[name].tobytes() == array.tobytes()


def test_an_error_on_one_rank_is_raised_on_all(tmp_path):
    arrays = {"rows": np.zeros((10, 2), np.float32)}

    def save(team, spoil):
        mine = part(arrays, 3, team.rank)
        return Saver(tmp_path, team=team).save(spoil(mine, team.rank), step=0)

    nothing = Part(10, 10, {"rows": arrays["rows"][:0]}, {"rule": "adam"})
    cases = {
        "end at slot 6": lambda p, rank: {"a": p if rank < 2 else nothing},
        "must save the same ones": lambda p, rank: {"a" if rank else "b": p},
        "has facts": lambda p, rank: {"a": p if rank else part(arrays, 3, 0, {"rule": "sgd"})},
        "no table": lambda p, rank: {"a": p if rank else 3},
    }  # fmt: skip
    for said, spoil in cases.items():
        ended = on_ranks(3, lambda team, spoil=spoil: save(team, spoil))
        assert all(isinstance(each, CheckpointError) and said in str(each) for each in ended), ended
    assert steps(tmp_path) == []
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda a: {"steps": a}, "expected 'rows' too"),
        (lambda a: {"rows": a, "steps": a[:3]}, "expected 10 rows"),
        (lambda a: {"rows": a.astype(">f4")}, "another byte order"),
        (lambda a: {"rows": a.astype(object)}, "numbers in a NumPy array .rowtune.torch.saves"),
    ],
)
def test_a_part_that_does_not_fit_itself_is_refused(tmp_path, broken, said):
    arrays = broken(np.zeros((10, 2), np.float32))
    with pytest.raises(CheckpointError, match=said):
        Saver(tmp_path).save({"a": Part(10, 0, arrays, {})}, step=0)


def test_folders_and_steps_that_are_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read as a folder of saves"):
        load(tmp_path / "no", {"items": make()})
    with pytest.raises(CheckpointError, match="has no save in it"):
        load(tmp_path, {"items": make()})
    Saver(tmp_path).save({"items": make()}, step=4)
    with pytest.raises(CheckpointError, match="no save of step 3; it has steps 4"):
        load(tmp_path, {"items": make()}, step=3)
    with pytest.raises(CheckpointError, match="step is -1"):
        Saver(tmp_path).save({"items": make()}, step=-1)
    with pytest.raises(CheckpointError, match="keep=0"):
        Saver(tmp_path, keep=0)


def test_a_manifest_of_another_format_says_so(tmp_path):
    made = Saver(tmp_path).save({"items": make()}, step=0)
    path = made.path / "manifest.json"
    content = json.loads(path.read_text())["manifest"]
    checkpoints.manifest.write(made.path, {**content, "format": "rowtune.checkpoint.9"})
    with pytest.raises(CheckpointError, match=r"rowtune\.checkpoint\.9"):
        load(tmp_path, {"items": make()})
