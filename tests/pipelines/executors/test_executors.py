"""A worker that dies or hangs costs one row, not the run; one loop hands out batches, whatever works on them."""

import functools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from features import processes
from features.errors import RowError, UserError
from features.view import Batch, Reject, rowwise
from pipelines import executors
from pipelines.executors import Executor, Job, Processes, Serial, remote, scatter
from tests.pipelines.executors.scattered import (
    BECOMES,
    KINDS,
    STOPS,
    TIMEOUT_S,
    act,
    keeps_what_cannot_be_sent_to_its_row,
    log_units,
    logged,
    named,
    outcome,
    same_bytes,
    stops,
    times_begun,
    toy_job,
)
from tests.pipelines.toy import SCHEMA, UNITS, ToyParams, units


def numbered(count: int, what: str = "good") -> list[pa.Table]:
    """Batches of two rows."""
    return [units([(f"m{2 * k + j}", 2 * k + j, what) for j in range(2)]) for k in range(count)]


def test_serial() -> None:
    assert outcome(Serial(), ["good", "bad", "bug", "good"]) == {
        "m0": "0", "m1": "bad", "m2": "ZeroDivisionError", "m3": "6"}


@pytest.mark.slow
def test_a_crash_and_a_hang_cost_one_row_each() -> None:
    assert outcome(Processes(2), KINDS, job=toy_job(TIMEOUT_S)) == BECOMES


@pytest.mark.slow
def test_processes_make_the_same_bytes(tmp_path: Path) -> None:
    same_bytes(Processes(2), tmp_path)


def raises(table: pa.Table) -> None:
    """A whole batch fails, with an error that pickle cannot bring back: its class takes two arguments and keeps one."""
    raise RowError("odd", f"first is {table['material_id'][0].as_py()}")


@pytest.mark.parametrize("executor", [Serial(), Processes(1)], ids=["serial", "processes"])
def test_a_batch_that_fails_as_a_whole_is_tried_row_by_row(executor: Executor) -> None:
    ((_, result),) = executor.map(Job(compute=raises), numbered(1))  # type: ignore[arg-type]
    assert result.rejects == {0: Reject("m0", "odd", "first is m0"), 1: Reject("m1", "odd", "first is m1")}


@pytest.mark.parametrize("executor", [Serial(), Processes(1)], ids=["serial", "processes"])
@pytest.mark.parametrize("name", STOPS)
def test_an_error_of_the_machine_stops_the_run(executor: Executor, name: str) -> None:
    stops(executor, name)


def test_a_result_that_cannot_be_sent_belongs_to_its_row() -> None:
    keeps_what_cannot_be_sent_to_its_row(Processes(1))


def leaves(table: pa.Table) -> Batch:
    """A library that ends the interpreter, as some do for a wrong input."""
    if "leave" in table["what"].to_pylist():
        raise SystemExit(3)
    return Batch(table, list(range(len(table))), {})


def test_a_row_that_leaves_the_interpreter_is_a_reject() -> None:
    table = units([("m0", 0, "good"), ("m1", 1, "leave")])
    ((_, result),) = Processes(1).map(Job(compute=leaves), [table])
    assert (result.owners, result.rejects) == ([0], {1: Reject("m1", "SystemExit", "3")})


@rowwise(UNITS)
def acting(unit: dict[str, Any], _params: None) -> dict[str, Any]:
    act(unit)
    return unit


LOGGED = [Job(compute=functools.partial(acting, params=None), timeout_s=3.0),
          Job(compute=logged, timeout_s=3.0, one_by_one=True)]


@pytest.mark.parametrize("job", LOGGED, ids=["rowwise", "one_by_one"])
def test_a_hang_shows_after_the_time_out_of_one_unit(job: Job, tmp_path: Path) -> None:
    """And the row that hung is not begun again, the rows before it once more, those behind it once."""
    kinds = ["good"] * 40
    kinds[5] = kinds[20] = "hang"
    began = time.monotonic()
    ((_, result),) = Processes(1).map(job, [log_units(tmp_path / "log", kinds)])
    assert time.monotonic() - began < 60  # 40 x 3 s would be the batch's
    assert result.rejects == {k: Reject(f"m{k}", "timeout", "took longer than 3 s") for k in (5, 20)}
    assert sorted(result.owners) == [k for k in range(40) if k not in (5, 20)]
    assert [result.rows["number"][row].as_py() for row in range(38)] == result.owners
    begun = times_begun(tmp_path / "log")
    assert {k: begun[f"m{k}"] for k in range(40)} == {k: 2 if k < 20 and k != 5 else 1 for k in range(40)}


@pytest.mark.parametrize("job", LOGGED, ids=["rowwise", "one_by_one"])
def test_a_crash_is_known_to_be_of_one_unit(job: Job, tmp_path: Path) -> None:
    ((_, result),) = Processes(1).map(job, [log_units(tmp_path / "log", ["good"] * 5 + ["crash"] + ["good"] * 6)])
    assert result.rejects == {5: Reject("m5", "crash", "the worker process died (SIGSEGV)")}
    assert times_begun(tmp_path / "log") == {f"m{k}": 2 if k <= 5 else 1 for k in range(12)}


def test_a_batch_may_take_longer_than_one_unit(tmp_path: Path) -> None:
    for job in LOGGED:
        ((_, result),) = Processes(1).map(job, [log_units(tmp_path / "log", ["slow"] * 6)])
        assert sorted(result.owners) == list(range(6))
    assert set(times_begun(tmp_path / "log").values()) == {2}  # once for each job


def test_what_says_nothing_of_its_units_has_the_time_out_for_a_batch(tmp_path: Path) -> None:
    """As a pass of texts on a GPU: then the rows are tried one by one."""
    ((_, result),) = Processes(2).map(Job(compute=logged, timeout_s=3.0),
                                      [log_units(tmp_path / "log", ["good", "hang", "good"])])
    assert result.rejects == {1: Reject("m1", "timeout", "took longer than 3 s")}
    assert times_begun(tmp_path / "log") == {"m0": 2, "m1": 2, "m2": 1}


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGKILL"])
def test_nothing_is_left_of_workers(tmp_path: Path, signal_name: str) -> None:
    """Neither processes nor temporary files, even if the parent is killed in the middle."""
    code = ("from tests.pipelines.executors.test_executors import *\n"
            "with Processes(2).pool(toy_job()) as pool:\n"
            "    pool.submit(numbered(1)[0]).result()\n"
            "    print(*pool.processes._pool_manager.worker_manager.workers, flush=True)\n"
            "    time.sleep(600)\n")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2
        process.send_signal(getattr(signal, signal_name))
    limit = time.monotonic() + 60
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, workers))
    assert [path.name for path in tmp_path.rglob("*") if not path.is_dir() and not path.is_socket()] == []


def test_only_a_few_batches_are_taken_ahead() -> None:
    taken = finished = 0

    def batches() -> Iterator[pa.Table]:
        nonlocal taken
        for batch in numbered(30):
            taken += 1
            assert taken - finished <= 4
            yield batch

    for _ in Processes(1).map(toy_job(), batches()):
        finished += 1
    assert (taken, finished) == (30, 30)


@pytest.mark.parametrize("executor", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_several_threads_share_a_pool(executor: Executor) -> None:
    batches = numbered(12)
    outcomes: dict[int, dict[str, str]] = {}
    with executor.pool(toy_job()) as pool:
        def part(k: int) -> None:
            mine = batches[k::3]
            outcomes[k] = {name: value for index, result in scatter(pool, mine)
                        for name, value in named(mine[index], result).items()}

        threads = [threading.Thread(target=part, args=[k]) for k in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {name: value for part in outcomes.values() for name, value in part.items()} == {
        f"m{k}": f"{2 * k}" for k in range(24)}


@pytest.mark.parametrize(("arguments", "message"), [
    (("slurm",), "no executor 'slurm'; there are: serial, processes, dask, ray"),
    (("serial", None, "tcp://host:1"), "executor 'serial' uses this machine alone; take --executor dask or ray"),
    (("processes", None, "host:1"), "executor 'processes' uses this machine alone"),
    (("dask", 2, "host:1"), "the cluster at host:1 has its own workers"),
])
def test_what_does_not_go_together(arguments: tuple[str, int | None, str | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        executors.make(*arguments)


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_package_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed" if name == "dask" else "ray", None)
    with pytest.raises(UserError, match=rf"'{name}' needs the package {name}: pip install 'multimodal-cpf\[{name}\]'"):
        list(executors.make(name).map(toy_job(), numbered(1)))


@pytest.mark.parametrize("name", ["dask", "ray"])
@pytest.mark.parametrize(("address", "message"), [
    ("127.0.0.1:9", "does not answer at 127.0.0.1:9"), ("host", "--address host .* is not HOST:PORT of"),
    ("host:port", "is not HOST:PORT of")])
def test_an_address_where_nobody_is(name: str, address: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_S", 0.1)
    with pytest.raises(UserError, match=message):
        list(executors.make(name, None, address).map(toy_job(), numbered(1)))


def test_a_slice_travels_without_its_parent() -> None:
    table = pa.concat_tables(numbered(500))
    assert len(remote.to_bytes(table.slice(0, 2))) < len(remote.to_bytes(table)) / 10
    assert remote.from_bytes(remote.to_bytes(table.slice(3, 5))).equals(table.slice(3, 5))


@pytest.mark.parametrize(("job", "code", "message"), [
    (toy_job(libraries={"numpy": "0.1"}), None, "numpy is .*, and 0.1 where the run was started"),
    (toy_job(libraries={"no-such-thing": "1"}), None, "no-such-thing is missing, and 1"),
    (toy_job(digest="these", find_digest=functools.partial(str, "those")), None, "other weights or arithmetic"),
    (toy_job(), "another", "the code of features/ is not that of the run"),
])
def test_a_machine_that_would_make_other_rows(job: Job, code: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        remote.check_machine(job, code or remote.CODE)


def test_a_worker_that_may_not_have_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    answer = remote.work(pickle.dumps((toy_job(), "")), b"", 1)
    with pytest.raises(UserError, match="DASK_DISTRIBUTED__WORKER__DAEMON=False in its environment, or with --no-na"):
        raise answer.error or AssertionError


def test_a_workers_children_stay_for_the_next_batch_and_end_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "IDLE_S", 0.5)
    job = pickle.dumps((toy_job(), remote.CODE))
    batch = remote.to_bytes(numbered(1)[0])
    first = remote.work(job, batch, 1)
    children = remote._by_job[job]
    assert first == remote.work(job, batch, 1)
    assert remote._by_job[job] is children
    assert first.owners == [0, 1]
    assert children.timer is not None
    children.timer.join()
    assert job not in remote._by_job


def test_children_that_all_died_are_replaced() -> None:
    """Killed while idle, which breaks the pool: the batch goes back and is computed by new ones."""
    job = pickle.dumps((toy_job(), remote.CODE))
    batch = remote.to_bytes(numbered(1)[0])
    remote.work(job, batch, 1)
    (child,) = [one for one in multiprocessing.active_children()
                if one in remote._by_job[job].pool.processes._pool_manager.worker_manager.workers.values()]
    child.kill()
    child.join()
    answers = [remote.work(job, batch, 1) for _ in range(2)]
    assert answers[-1].error is None
    assert all(isinstance(one.error, executors.BatchError) for one in answers[:-1] if one.error)
    remote._end_all()


def test_the_environment_of_this_process_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with Processes(1).pool(toy_job()):
        assert {name: os.environ.get(name) for name in processes.THREADS[:3:2]} == {
            "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": None}


@rowwise(SCHEMA)
def hungry(unit: dict[str, Any], params: ToyParams) -> dict[str, Any]:
    if unit["what"] == "bad":
        bytearray(1_000_000_000)
    return {"material_id": unit["material_id"], "copy": 0, "value": params.factor}


def test_too_much_memory_costs_one_row() -> None:
    job = Job(compute=functools.partial(_hungry, params=ToyParams()), memory_bytes=700_000_000)
    table = units([(f"m{k}", k, "bad" if k == 2 else "good") for k in range(4)])
    ((_, result),) = Processes(1).map(job, [table])
    assert result.rejects == {2: Reject("m2", "memory", "needs more than 0.7 GB of memory")}
    assert sorted(result.rows["material_id"].to_pylist()) == ["m0", "m1", "m3"]


def _hungry(table: pa.Table, params: ToyParams) -> Batch:
    return hungry(table, params)
