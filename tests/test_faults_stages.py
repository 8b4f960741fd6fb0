"""Bad input of each stage, run as a process: one clear error, its exit code, and every artifact as it was."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from faults import DATA, OWN, RAW, RIGHT, RL, WRONG, fails, lines, own_problem, stage, told, tree, write_candidates

TRAIN = DATA / "train"


def with_own(project: Path, content: bytes | str, name: str = "mine.jsonl") -> None:
    """The fetched file of own problems holds this."""
    (project / RAW / "mine.jsonl").unlink()
    data = content.encode() if isinstance(content, str) else content
    (project / RAW / name).write_bytes(data)


GOOD = lines(OWN)
BAD_FILES = {
    "malformed": (GOOD + '{"task_id": "x", \n', ["mine.jsonl:6: invalid JSON", "line 1 column"]),
    "missing column": (GOOD + '{"prompt": "p"}\n', ["mine.jsonl:6: task_id: field required"]),
    "wrong type": (GOOD + json.dumps(OWN[0] | {"task_id": 7}), ["mine.jsonl:6: task_id: input should be", "(found 7)"]),
    "twice": (
        GOOD + "\n" + json.dumps(OWN[1]),
        ["mine.jsonl:7: task_id: 'add-2' stands on line 2 already", "hint: "],
    ),
    "empty": ("", ["mine.jsonl: no problems in it (the file is empty)", "hint: "]),
    "only blank lines": ("\n\r\n \n", ["mine.jsonl: no problems in it"]),
    "latin-1": (GOOD.encode() + '{"prompt": "é"}'.encode("latin-1"), ["mine.jsonl:6: not UTF-8 (byte 0xe9", "iconv"]),
    "UTF-16": (GOOD.encode("utf-16"), ["mine.jsonl:1: not UTF-8 (byte 0xff at position 0, UTF-16 by its", "hint"]),
    "nan": (
        json.dumps(OWN[0] | {"time_limit_s": float("inf")}),
        ["mine.jsonl:1: time_limit_s: input should be a finite number (found inf)"],
    ),
    "nan expected": (
        json.dumps(OWN[0] | {"tests": [{"kind": "call", "input": [1], "output": [float("nan")]}]}),
        ["mine.jsonl:1: tests.0.call.output: NaN equals nothing", "hint: test it with an assert"],
    ),
    "deep": ("[" * 9000, ["mine.jsonl:1: invalid JSON: recursion limit exceeded"]),
    "half a character": ('{"task_id": "\\ud800"}', ["mine.jsonl:1: invalid JSON"]),
    "NUL": ('{"task_id": "\0"}', ["mine.jsonl:1: invalid JSON: control character"]),
    "huge number": ('{"task_id": ' + "9" * 5000 + "}", ["mine.jsonl:1: invalid JSON: number out of range"]),
    "unknown kind": (
        json.dumps(OWN[0] | {"tests": [{"kind": "x\n" + "y" * 9999}]}),
        ["mine.jsonl:1: tests.0.kind: must be one of 'assert', 'call', 'stdio', 'script' (found 'x\\nyyy"],
    ),
    "one problem": (lines(OWN[:1]), ["file: validation and test: no problems left (found train 1,"]),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD_FILES)
def test_prepare_names_what_is_wrong_with_own_problems(project: Path, fault: str) -> None:
    content, words = BAD_FILES[fault]
    with_own(project, content)
    if fault != "one problem":
        fails(project, "prepare", 2, *words)
        return
    before = tree(project)
    told(stage(project, "prepare"), 2, *words, "hint: the reasons are in audit.json")
    after = tree(project)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {f"{DATA}/audit.json", f"{DATA}/quarantine.jsonl"}  # they say why


def test_prepare_names_damaged_gzip(project: Path) -> None:
    packed = gzip.compress(GOOD.encode())
    with_own(project, packed[:-12], "mine.jsonl.gz")
    fails(project, "prepare", 2, "mine.jsonl.gz: damaged gzip file (Compressed file ended", "hint: fetch or write it")
    (project / RAW / "mine.jsonl.gz").write_bytes(packed[:30] + b"\0\0\0\0" + packed[34:])
    fails(project, "prepare", 2, "mine.jsonl.gz: damaged gzip file (")


def test_bom_and_crlf_are_no_fault_and_a_line_of_200_mb_takes_no_memory(project: Path) -> None:
    with_own(project, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert stage(project, "prepare").returncode == 0
    with (project / RAW / "mine.jsonl").open("wb") as stream:
        stream.write(GOOD.encode() + b'{"task_id": "')
        stream.seek(200 << 20, 1)
        stream.write(b'"}\n')
    limit = str(700 << 20)
    done = stage(project, "prepare", before=["prlimit", f"--as={limit}"] if shutil.which("prlimit") else [])
    told(done, 2, "mine.jsonl:6: a line longer than 64 MiB", "hint: one record per line")


def test_fetch_names_what_dataset_path_should_be(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    for path, words in {
        "gone.jsonl": "params.yaml: dataset.path: no such file (gone.jsonl)",
        "mine.csv": "params.yaml: dataset.path: must be JSON Lines",
        "assets.jsonl": "params.yaml: dataset.path: a folder, where a file is expected (assets.jsonl)",
    }.items():
        (project / "assets.jsonl").mkdir(exist_ok=True)
        (project / "params.yaml").write_text(text.replace("mine.jsonl", path))
        fails(project, "fetch", 2, words)


def test_an_unknown_dataset_lists_those_there_are(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("name: file, path: mine.jsonl", "name: mbbp"))
    fails(project, "fetch", 2, "params.yaml: dataset.name: no dataset 'mbbp'", "did you mean mbpp?")


def test_a_hub_dataset_without_a_network_is_to_be_tried_again(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("name: file, path: mine.jsonl", "name: humaneval"))
    fails(project, "fetch", 75, "openai/openai_humaneval: the hub did not answer", "hint: ", HF_HUB_OFFLINE="1")


def test_a_hub_row_without_a_column_names_file_row_and_column(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("name: file, path: mine.jsonl", "name: humaneval"))
    (project / "assets/raw/humaneval").mkdir()
    (project / "assets/raw/humaneval/HumanEval.jsonl").write_text('{"task_id": "HumanEval/0", "prompt": NaN}\n')
    fails(project, "prepare", 2, "HumanEval.jsonl: humaneval: row 1: column `prompt` must be str (found")


INPUTS = {
    "prepare": (RAW, ["assets/raw/file: no such folder", "dvc repro fetch"]),
    "baseline": (DATA / "test/problems.jsonl", ["test/problems.jsonl: no such file", "run the stage that writes it"]),
    "generate": (TRAIN / "problems.jsonl", ["train/problems.jsonl: no such file", "run the stage that writes it"]),
    "annotate": (TRAIN / "candidates.jsonl", ["train/candidates.jsonl: no such file", "run the stage that writes it"]),
    "build": (TRAIN / "candidates_annotated.jsonl", ["candidates_annotated.jsonl: no such file", "run the stage"]),
    "train": (RL / "pairs.jsonl", ["assets/rl/file/pairs.jsonl: no such file", "run the stage that writes it"]),
    "merge": (Path("assets/models/base"), ["assets/models/base: no model here (no config.json)", "run the stage"]),
    "evaluate": (DATA / "validation/problems.jsonl", ["no such file", "run the stage that writes it"]),
    "report": (DATA / "audit.json", ["evaluations_baseline.json: no such file", "run the stage that writes it"]),
    "register": (DATA / "audit.json", ["small_summary.json: no such file", "run the stage that writes it"]),
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_stage_whose_input_is_not_there_says_who_writes_it(project: Path, name: str) -> None:
    path, words = INPUTS[name]
    shutil.rmtree(project / path) if (project / path).is_dir() else (project / path).unlink()
    method = ["--method", "dpo"] if name in {"train", "merge", "evaluate", "register"} else []
    fails(project, name, 2, *words, arguments=method)


def test_annotate_refuses_candidates_that_do_not_belong(project: Path) -> None:
    file = project / TRAIN / "candidates.jsonl"
    text = file.read_text()
    file.write_text(text.replace('"add-3"', '"add-4"'))
    fails(project, "annotate", 2, "candidates: task_id: 'add-4' is none of the 3 problems", "hint: dvc repro generate")
    file.write_text(text + '{"task_id": "add-1"}\n')
    fails(project, "annotate", 2, "candidates.jsonl:7: candidate_idx: field required")


def annotated(project: Path) -> Path:
    return project / TRAIN / "candidates_annotated.jsonl"


def rows_of(project: Path) -> list[dict]:
    return [json.loads(line) for line in annotated(project).read_text().splitlines()]


BAD_CANDIDATES = {
    "unknown problem": (
        lambda rows: [*rows, rows[0] | {"task_id": "add-9"}],
        [":7: task_id: 'add-9' is none of the 3"],
    ),
    "twice": (lambda rows: [rows[0], *rows], [":2: candidate_idx: 0 of 'add-1' stands on line 1 already"]),
    "apart": (
        lambda rows: [*rows, rows[0] | {"candidate_idx": 9}],
        [":7: task_id: the candidates of 'add-1' stand apart"],
    ),
    "other prompt": (lambda rows: [*rows[:5], rows[5] | {"prompt_hash": "0"}], ["add-3: sampled with another prompt"]),
    "empty": (lambda rows: [], ["no candidates in it (the file is empty)"]),
    "all infra": (
        lambda rows: [row | {"passed": None, "passed_all": None, "verdict": "infra"} for row in rows],
        ["no candidate has a verdict (all 6 are infra: the sandbox failed)", "greenlit doctor"],
    ),
    "NaN": (
        lambda rows: [*rows[:1], rows[1] | {"reward": float("nan")}],
        [":2: reward: input should be a finite number"],
    ),
    "unknown verdict": (
        lambda rows: [rows[0] | {"verdict": "fine"}],
        [":1: verdict: input should be 'passed'", "'fine'"],
    ),
}


@pytest.mark.parametrize("fault", BAD_CANDIDATES)
def test_build_refuses_candidates_it_cannot_trust(project: Path, fault: str) -> None:
    change, words = BAD_CANDIDATES[fault]
    annotated(project).write_text(lines(change(rows_of(project))))
    fails(project, "build", 2, "candidates_annotated.jsonl", *words)


@pytest.mark.parametrize(
    ("program", "verdict", "why"),
    [(WRONG, "6 failed", "no candidate passes, so that neither"), (RIGHT, "6 passed", "all candidates pass")],
    ids=["all fail", "all pass"],
)  # fmt: skip
def test_nothing_to_learn_from_is_told_by_build_and_ends_train(
    project: Path, program: str, verdict: str, why: str
) -> None:
    write_candidates(project, [program, program.replace("return", "return 0 +")])
    assert stage(project, "annotate").returncode == 0
    done = stage(project, "build")
    assert done.returncode == 0
    assert f"warning: {RL}/pairs.jsonl: no pairs: {why}" in done.stderr
    assert f"({verdict}; 0 truncated)\nhint: " in done.stderr
    manifest = json.loads((project / RL / "manifest.json").read_text())
    assert (manifest["pairs"], manifest["candidates"]) == (0, 6)
    assert (manifest["problems_all_pass"], manifest["problems_none_passes"]) == ((3, 0), (0, 3))[program == WRONG]
    words = (f"{RL}/pairs.jsonl: nothing to learn from", f"hint: {RL}/manifest.json counts the verdicts")
    fails(project, "train", 2, *words, arguments=["--method", "dpo"])
    if program == WRONG:
        fails(project, "train", 2, "nbest.jsonl: nothing to learn from (no program passes)", arguments=["--method=sft"])


def test_an_unknown_method_lists_those_there_are(project: Path) -> None:
    fails(project, "train", 2, "methods: no method 'ppo'", "one of dpo, sft", arguments=["--method", "ppo"])


def test_a_project_without_problems_for_every_split_says_how_many_there_are(project: Path) -> None:
    with_own(project, lines([own_problem(number, "train") for number in range(1, 4)]))
    told(
        stage(project, "prepare"),
        2,
        "file: validation and test: no problems left (found train 3,",
    )
