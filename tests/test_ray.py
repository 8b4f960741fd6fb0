"""Shards on a Ray cluster: the same bytes as on one machine, whatever dies; clear words where it cannot work."""

import dataclasses
import json
import os
import signal
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray_cluster
from ray_cluster import SECRET, members, wait_until

from greenlit.cluster import parcel, session
from greenlit.cluster.crew import TRIES
from greenlit.cluster.judging import ClusterJudge, judge_of_stage
from greenlit.cluster.sampling import on_cluster
from greenlit.config import AdaptiveParams, AnnotateParams, GenerateParams
from greenlit.errors import ConfigError, WorldError
from greenlit.execution.judges import Judge
from greenlit.execution.untested import Untested
from greenlit.generation.adaptive import by_execution
from greenlit.generation.sample import sample
from greenlit.grading import annotate
from greenlit.jsonl import to_line
from greenlit.stage.progress import progress
from greenlit.types import AssertTest, Candidate, Problem

ROOT = Path(__file__).parent.parent
LIMITS = AnnotateParams(allow_portable=True)
SAMPLING = GenerateParams(n=4, max_new_tokens=24, batch_size=8, backend="transformers")
PROBLEMS = [
    Problem(
        task_id=f"add-{number}",
        prompt=f"Add {number}.{' Please.' * (number % 5)}",
        entry_point="f",
        reference=(f"def f(x):\n    return x + {number}\n",),
        tests=[AssertTest(code=f"assert f({x}) == {x + number}") for x in range(3)],
    )
    for number in range(12)
]
PROGRAMS = (
    "def f(x):\n    return x + {n}\n",
    "def f(x):\n    return x\n",
    "def f(x:\n",
    "def f(x):\n    while 1: pass\n",
)


@pytest.fixture(scope="module")
def cluster_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def cluster(cluster_folder: Path) -> Iterator[str]:
    pytest.importorskip("ray")
    with ray_cluster.running_cluster(cluster_folder) as address:
        yield address
        import ray

        ray.shutdown()  # this process's connection, before the cluster ends


@pytest.fixture
def on_ray(cluster: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process works on the cluster, and has a secret of its own."""
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    monkeypatch.setenv("MY_API_TOKEN", SECRET)
    yield cluster


def sampled(model: Path, work: Path, n: int = 4) -> bytes:
    work.mkdir(parents=True, exist_ok=True)
    rows = sample(
        model, PROBLEMS, SAMPLING.model_copy(update={"n": n}), seed=3, greedy=True, work=work, workers=2, label="t"
    )
    return "".join(to_line(row) for row in rows).encode()


@pytest.fixture(scope="module")
def local(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What one machine samples."""
    assert "RAY_ADDRESS" not in os.environ
    return sampled(tiny_model, tmp_path_factory.mktemp("local"))


def candidates() -> list[Candidate]:
    return [
        Candidate(
            task_id=problem.task_id, candidate_idx=index, text=code, code=code, solution=code, tokens=9,
            finish_reason="eos", seed=0, prompt_hash="x", model="m",
        )
        for problem in PROBLEMS
        for index, program in enumerate(PROGRAMS if problem.task_id == "add-3" else PROGRAMS[:3])
        for code in [program.replace("{n}", problem.task_id.removeprefix("add-"))]
    ]  # fmt: skip


def annotated(judge: Judge | Untested | ClusterJudge) -> bytes:
    known = {problem.task_id: problem for problem in PROBLEMS}
    with judge, progress("t", 1) as bar:
        return "".join(to_line(row) for row, _ in annotate(known, candidates(), judge, bar)).encode()


def test_auto_without_a_cluster_on_this_machine_is_told(tmp_path, monkeypatch) -> None:
    """First in this file: `auto` finds every cluster of the machine, and the tests below start one."""
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(WorldError, match=r"RAY_ADDRESS: auto: no Ray cluster answers \(Could not find any running Ray"):
        session.connect()


def test_candidates_are_the_same_bytes_also_when_a_worker_is_killed(
    on_ray, local, tiny_model, tmp_path, monkeypatch, capfd
) -> None:
    from greenlit.cluster.crew import Crew

    killed = []
    whole = Crew._hand_out

    def killing(crew: Crew) -> None:
        whole(crew)
        busy = [hand for hand in crew._hands if hand.shards and hand.place]
        if busy and not killed and crew._open and len(crew._open) < 8:
            killed.append(busy[0].place.pid)
            os.kill(busy[0].place.pid, signal.SIGKILL)

    monkeypatch.setattr(Crew, "_hand_out", killing)
    assert sampled(tiny_model, tmp_path) == local
    assert len(killed) == 1
    assert "a worker died" in capfd.readouterr().err
    wait_until(lambda: not members("Sampler"), 20, "members outlived their work")
    rows = [json.loads(line) for line in (tmp_path / "candidates.jsonl").read_text().splitlines()]
    assert len({(row["task_id"], row["candidate_idx"]) for row in rows}) == len(rows) == 5 * len(PROBLEMS)


def test_a_model_travels_to_nodes_that_do_not_have_it(
    on_ray, cluster_folder, local, tiny_model, tmp_path, monkeypatch
) -> None:
    """The nodes are told of a folder that is none; the driver reads its own, here in pieces of 10,000 bytes."""
    own, pieces = parcel.parcel_of, parcel.pieces_of
    monkeypatch.setattr(parcel, "PIECE", 10_000)
    monkeypatch.setattr(parcel, "parcel_of", lambda folder: dataclasses.replace(own(folder), folder="/no/such/folder"))
    monkeypatch.setattr(parcel, "pieces_of", lambda one: pieces(dataclasses.replace(one, folder=str(tiny_model))))
    assert sampled(tiny_model, tmp_path) == local
    (arrived,) = (cluster_folder / "nodes/models").iterdir()
    assert own(arrived).sha256 == own(tiny_model).sha256


def test_adaptive_sampling_asks_the_cluster_for_samples_and_verdicts(
    cluster, tiny_model, tmp_path, monkeypatch, capfd
) -> None:
    """Gibberish that ends before its first letter: a syntax error, or nothing, which these problems accept."""
    change = {"tests": [AssertTest(code="assert True")], "entry_point": None}
    problems = [one.model_copy(update=change) for one in PROBLEMS]
    adaptive = AdaptiveParams(max_n=10, round=3, passes=1, fails=1, limits=LIMITS)
    params = SAMPLING.model_copy(update={"stop": list(string.ascii_letters), "adaptive": adaptive})

    def rows(name: str) -> list[Candidate]:
        (tmp_path / name).mkdir()
        monkeypatch.setenv("GREENLIT_CACHE", str(tmp_path / f"{name}.sqlite"))
        go_on = by_execution(adaptive, problems, 2)
        arguments = {"seed": 3, "greedy": False, "work": tmp_path / name, "workers": 2, "label": "t", "go_on": go_on}
        return list(sample(tiny_model, problems, params, **arguments))

    here = rows("here")
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    capfd.readouterr()
    assert rows("there") == here
    told = capfd.readouterr().err
    assert "sampling on " in told
    assert "sandbox level" in told
    assert set(Counter(row.task_id for row in here).values()) == {7, 10}, "some are done after a round, some never"


def test_verdicts_are_the_same_bytes_also_when_a_worker_is_killed(on_ray, monkeypatch, capfd) -> None:
    from greenlit.cluster import judging

    here = annotated(Judge(LIMITS, 2))
    monkeypatch.setattr(judging, "PROGRAMS", 1)
    kill = iter([True])

    def killing() -> Iterator[tuple[Problem, str]]:
        for place, row in enumerate(candidates()):
            if place == 24 and next(kill, False):
                wait_until(lambda: members("Grader"), 30, "no grader came")
                os.kill(members("Grader")[0].pid, signal.SIGKILL)
            yield next(one for one in PROBLEMS if one.task_id == row.task_id), row.solution

    judge = judge_of_stage("program", LIMITS, 1, earns=True)
    assert isinstance(judge, ClusterJudge)
    assert annotated(judge) == here
    with Judge(LIMITS, 1) as one:
        expected = [(found.verdict, found.passed, found.error) for found in one.judge_all(killing_free())]
    found = list(judge.judge_all(killing()))
    assert [(one.verdict, one.passed, one.error) for one in found] == expected
    told = capfd.readouterr().err
    assert "a worker died" in told
    assert told.count(f"sandbox level {judge.level} (") == 2, "every node's level is told, once"
    wait_until(lambda: not members("Grader"), 20, "members outlived their work")


def killing_free() -> Iterator[tuple[Problem, str]]:
    by_id = {problem.task_id: problem for problem in PROBLEMS}
    return ((by_id[row.task_id], row.solution) for row in candidates())


def test_no_secret_of_the_driver_reaches_a_worker_or_a_candidate(on_ray, monkeypatch) -> None:
    from greenlit.cluster import judging

    looks = (
        "import os\ndef f(x):\n    found = [dict(os.environ)]\n"
        "    for pid in os.listdir('/proc') if os.path.isdir('/proc') else []:\n"
        "        try: found.append(open(f'/proc/{pid}/environ').read())\n"
        "        except OSError: pass\n    return str(found)\n"
    )
    monkeypatch.setattr(judging, "PROGRAMS", 1)
    errors, seen = [], []
    for found in ClusterJudge(LIMITS).judge_all((problem, looks) for problem in PROBLEMS):
        errors.append(found.error or "")
        if not seen:
            seen = [Path(f"/proc/{process.pid}/environ").read_bytes() for process in members("Grader")]
    assert all("got" in error for error in errors)
    assert seen
    assert not [text for text in (*map(str.encode, errors), *seen) if SECRET.encode() in text]


def test_a_node_of_another_level_is_refused_by_name(on_ray, monkeypatch) -> None:
    from greenlit.cluster import judging

    monkeypatch.setattr(judging, "_level_here", lambda params, stated: "bubblewrap")
    with pytest.raises(ConfigError, match=r"node \S+ \w{8}: sandbox level \w+, but bubblewrap on the driver"):
        list(ClusterJudge(LIMITS).judge_all([(PROBLEMS[0], PROGRAMS[0])]))
    monkeypatch.undo()
    monkeypatch.setenv("RAY_ADDRESS", on_ray)
    monkeypatch.setenv("GREENLIT_SANDBOX", "portable")
    with pytest.raises(ConfigError, match="allow_portable"):
        ClusterJudge(AnnotateParams(allow_portable=False))


def test_work_that_kills_its_workers_is_given_up(on_ray, tiny_model, capfd) -> None:
    import ray.cloudpickle

    module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(module)
    try:
        with pytest.raises(WorldError, match=f"died {TRIES} times of the same work") as error:
            list(on_cluster(tiny_model, ready, (), deadly, [0, 1, 2]))
    finally:
        ray.cloudpickle.unregister_pickle_by_value(module)
    assert error.value.exit_code == 75
    assert capfd.readouterr().err.count("a worker died") == TRIES
    with pytest.raises(AssertionError) as fault:
        ray.cloudpickle.register_pickle_by_value(module)
        list(on_cluster(tiny_model, ready, (), wrong, [0]))
    assert "of our own" in str(fault.value)
    assert "On node" in fault.value.__notes__[0]


def ready(model: str) -> None:
    """A start that loads nothing."""


def deadly(piece: int) -> Iterator[int]:
    """Work whose second piece is fatal."""
    if piece == 1:
        os._exit(1)
    yield piece


def wrong(piece: int) -> Iterator[int]:
    """Work with a mistake."""
    raise AssertionError("of our own")
    yield piece


PROMPTS = "".join(json.dumps({"task_id": one.task_id, "prompt": one.prompt}) + "\n" for one in PROBLEMS)


def generate(folder: Path, model: Path, **variables: str) -> subprocess.Popen:
    """`greenlit generate`, long enough to be ended in the middle."""
    (folder / "prompts.jsonl").write_text(PROMPTS)
    options = ["--prompts", "prompts.jsonl", "--model", str(model), "--out", "out.jsonl", "-n", "40", "--seed", "5"]
    sizes = ["--max-new-tokens", "64", "--batch-size", "20"]
    return subprocess.Popen(
        [sys.executable, "-m", "greenlit.cli", "generate", *options, *sizes],
        cwd=folder, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "GREENLIT_WORKERS": "2", **variables},
    )  # fmt: skip


def rows_in(folder: Path) -> int:
    file = folder / "out.jsonl.partial/candidates.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_a_driver_stopped_then_killed_leaves_nobody_and_goes_on_anywhere(cluster, tiny_model, tmp_path) -> None:
    folder, whole = tmp_path / "ray", tmp_path / "local"
    folder.mkdir()
    whole.mkdir()
    for number, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        before = rows_in(folder)
        driver = generate(folder, tiny_model, RAY_ADDRESS=cluster)
        wait_until(lambda before=before: rows_in(folder) > before, 120, "nothing was sampled")
        driver.send_signal(number)
        assert driver.wait(20) == code, driver.stderr.read()
        wait_until(lambda: not members("Sampler"), 20, "members outlived their driver")
        assert 0 < rows_in(folder) < 40 * len(PROBLEMS)
        if number == signal.SIGTERM:
            assert "stopped by SIGTERM" in driver.stderr.read()
    ended, alone = generate(folder, tiny_model), generate(whole, tiny_model)  # both without the cluster
    assert ended.wait(120) == 0, ended.stderr.read()
    assert alone.wait(120) == 0, alone.stderr.read()
    assert (folder / "out.jsonl").read_bytes() == (whole / "out.jsonl").read_bytes()


def test_doctor_tells_of_the_cluster_and_the_level_of_every_node(on_ray, monkeypatch) -> None:
    from greenlit.doctor.cluster import cluster

    lines = list(cluster())
    assert [line.name for line in lines[:2]] == ["address", "workers"]
    assert "2 nodes, 2 CPUs" in lines[0].value
    with Judge(LIMITS, 1) as judge:
        assert [judge.level in line.value for line in lines[2:]] == [True, True]
    assert all(line.name.startswith("node ") for line in lines[2:])


def test_another_version_of_ray_is_told(cluster, tmp_path) -> None:
    program = (
        "import ray; ray.__version__ = '1.0.0'\nfrom greenlit.cluster.session import connect\n"
        "from greenlit.stage.entry import exit_cleanly\nexit_cleanly(connect)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "RAY_ADDRESS": cluster},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    for word in ("error: RAY_ADDRESS", "ersion mismatch", "1.0.0", "requirements.lock"):
        assert word in done.stderr
