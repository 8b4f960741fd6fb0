"""params.yaml as people break it: every fault at once, each a line with place, what was found and what is expected."""

import itertools
import time
from pathlib import Path

import pytest
import workspace
import yaml
from faults import PARAMS, fails, stage, told

from greenlit.config import DpoParams, Params, load_params, read_yaml
from greenlit.errors import ConfigError

ROOT = Path(__file__).parent.parent
GOOD = (ROOT / "params.yaml").read_text()
LAST = GOOD.count("\n")


def fault(tmp_path: Path, content: str | bytes) -> str:
    file = tmp_path / "params.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    started = time.monotonic()
    with pytest.raises(ConfigError) as error:
        load_params(file)
    assert time.monotonic() - started < 3
    text = str(error.value).replace(f"{tmp_path}/", "")
    assert max(map(len, text.splitlines())) < 400
    return text


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{now}: &{now} [{', '.join([f'*{last}'] * 9)}]\n" for last, now in itertools.pairwise("abcdefghij")
)

WHOLE_FILES = {
    "empty": ("", "params.yaml: must be a mapping of sections (found nothing)\nhint: `greenlit preset starter`"),
    "only comments": ("# nothing\n", "params.yaml: must be a mapping of sections (found nothing)"),
    "a list": ("- a\n- b\n", "params.yaml: must be a mapping of sections (found list)"),
    "a word": ("hello", "params.yaml: must be a mapping of sections (found str)"),
    "binary": (bytes(range(256)), "params.yaml: not UTF-8 (byte 0x80 at position 128)\nhint: save it as UTF-8"),
    "control": ("a: 1\nb: \0\n", "params.yaml:2: not YAML: special characters are not allowed (found U+0"),
    "UTF-16": (GOOD.encode("utf-16"), "not UTF-8 (byte 0xff at position 0, UTF-16 by its first bytes)\nhint: "),
    "syntax": (GOOD + "\nreport: [1\n", f"params.yaml:{LAST + 3}: not YAML: expected ',' or ']'"),
    "tab": ("seed: 0\nbuild:\n\tmax_pairs: 6\n", "params.yaml:3: not YAML: found character '\\t'"),
    "twice": (GOOD + "\nseed: 1\n", f"params.yaml:{LAST + 2}: not YAML: key 'seed' stands twice"),
    "two documents": ("a: 1\n---\nb: 2\n", "params.yaml:2: not YAML: but found another document"),
    "no such anchor": ("a: *b\n", "params.yaml:1: not YAML: found undefined alias 'b'"),
    "billion laughs": (LAUGHS + "evaluate: {ks: *j}\n", "params.yaml: more than 10,000 values once its aliases"),
    "endless": ("a: &a [*a]\n", "params.yaml:1: not YAML: an alias (*) of what it stands in"),
    "endless keys": ("&a {*a : 1}\n", "params.yaml:1: not YAML: an alias (*) of what it stands in"),
    "deep": ("a: " + "[" * 3000, "params.yaml: nested too deeply"),
    "large": (GOOD + "# x\n" * 100_000, "params.yaml: larger than 256 KiB: no file of settings"),
    "python": ("a: !!python/object/apply:os.system [ls]", "params.yaml:1: not YAML: could not determine a constructor"),
    "wrong tag": (GOOD.replace("seed: 0", "seed: !!int zero"), "params.yaml:5: not YAML: 'zero' is no int"),
    "list as key": (GOOD + "\n? [a]\n: x\n", f"params.yaml:{LAST + 2}: not YAML: a key must be text"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    content, expected = WHOLE_FILES[name]
    assert expected in fault(tmp_path, content)


VALUES = [
    ("seed: 0", "seed: true", "params.yaml: seed: must be an integer (found True)"),
    ("seed: 0", "seed: '0'", "params.yaml: seed: must be an integer (found '0')"),
    ("seed: 0", "seed: 0.0", "params.yaml: seed: must be an integer (found 0.0)"),
    ("seed: 0", "seed:", "params.yaml: seed: must be an integer (found None)"),
    ("seed: 0", "seed: " + "9" * 5000, "params.yaml:5: not YAML: '9999"),
    ("seed: 0", "seed: 9223372036854775808", "is too large (at most 2^63 - 1)"),
    ("batch_size: 256", "batch_size: " + "9" * 400, "is too large (at most 2^63 - 1)"),
    ("allow_portable: true", "allow_portable: yes", "annotate.allow_portable: must be true or false (found 'yes')"),
    ("experiment: starter", "experiment: 2024-01-01", "params.yaml:4: not YAML: '2024-01-01' reads as a date"),
    ("experiment: starter", "experiment: " + "x" * 5000 + " y", "experiment: must be letters, digits,"),
    ("methods:\n", "methods:\nold:\n", "params.yaml: methods: must be a mapping (found None)"),
    ("  sft:", "  7:", "params.yaml: methods.7: must be text (found 7)"),
    ("report:\n", "1: x\nreport:\n", "params.yaml: 1: a key must be text (found 1)"),
    ("report:\n", "k" * 900 + ": 1\nreport:\n", "unknown key\n  hint: known keys: experiment, seed"),
    ("temperature: 1.0", "temprature: 1.0", "params.yaml: generate.temprature: unknown key\n  hint: did you mean temp"),
]


@pytest.mark.parametrize(("old", "new", "expected"), VALUES, ids=[new[:30].strip() for _, new, _ in VALUES])
def test_a_value_of_the_wrong_kind(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert expected in fault(tmp_path, GOOD.replace(old, new, 1))


def numbers(section: type, path: str = "") -> list[str]:
    """Every setting that is a number with a fraction."""
    found = []
    for name, field in section.model_fields.items():
        name = field.alias or name
        if field.annotation is float:
            found.append(f"{path}{name}")
        elif isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            found += numbers(field.annotation, f"{path}{name}.")
    return found


NUMBERS = [*numbers(Params), *numbers(DpoParams, "methods.dpo.")]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_no_number_may_be_nan_or_infinite(tmp_path: Path, value: str) -> None:
    assert len(NUMBERS) > 15
    for place in NUMBERS:
        content = read_yaml(ROOT / "params.yaml")
        *sections, key = place.split(".")
        inner = content
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = float(value.replace(".", ""))
        assert f"params.yaml: {place}: must be a finite number (found {float(value.replace('.', ''))})" in fault(
            tmp_path, yaml.safe_dump(content)
        )


def test_every_fault_is_told_at_once_and_thousands_are_counted(tmp_path: Path) -> None:
    text = fault(tmp_path, GOOD.replace("seed: 0", "seed: -1").replace("n: 12", "n: many").replace("beta:", "bata:"))
    assert [line.split(": ")[1] for line in text.splitlines() if not line.startswith("  hint")] == [
        "seed", "generate.n", "methods.dpo.bata",
    ]  # fmt: skip
    many = fault(tmp_path, GOOD + "".join(f"\nkey{number}: 1" for number in range(3000)))
    assert many.splitlines()[-1] == "params.yaml: and 2960 more"


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    """Else a stage would run with another value than the one that DVC watches."""
    from dvc.utils.serialize import parse_yaml

    texts = [
        "010", "0o17", "0x1F", "0b11", "1_000", "+5", "-3", "1:30", "1e-4", "1e5", ".5", "1.", "1_0.5", "yes", "on",
        "Null", "~", "true", "False", "-.inf", "07.5", "1e", "0x", "'1'", "{<<: {b: 1}, c: 2}",
    ]  # fmt: skip
    file = tmp_path / "x.yaml"
    for text in texts:
        file.write_text(f"a: {text}\n")
        assert repr(read_yaml(file)) == repr(dict(parse_yaml(f"a: {text}\n", "x.yaml"))), text


def test_every_stage_refuses_wrong_params_before_anything_is_touched(project: Path) -> None:
    (project / "params.yaml").write_text(PARAMS.replace("seed: 0", "seed: no").replace("max_pairs", "max_pears"))
    for name in ("fetch", "prepare", "build", "report"):
        fails(
            project,
            name,
            2,
            "error: params.yaml: seed: must be an integer (found 'no')\nparams.yaml: build.max_pears: unk",
        )
    (project / "params.yaml").unlink()
    told(stage(project, "build"), 2, "params.yaml: no such file", "hint: run from the project's root")
    (project / "params.yaml").mkdir()
    told(stage(project, "build"), 2, "params.yaml: a folder, where a file is expected")


def test_a_setting_that_dvc_reads_may_not_be_left_out(tmp_path: Path) -> None:
    """DVC fills `${rewards.model}` in from the file, and knows none of our defaults."""
    folder = workspace.make_workspace(tmp_path / "project", "tiny")
    text = (folder / "params.yaml").read_text()
    assert "  model: assets/models/base" in text
    (folder / "params.yaml").write_text(
        "\n".join(line for line in text.splitlines() if "  model: assets/models/base" not in line) + "\n"
    )
    done = workspace.greenlit(folder, "run", "--only", "prepare", code=2)
    assert "error: params.yaml: rewards.model: missing; dvc.yaml reads it there" in done.stderr
    assert "hint: presets/starter.yaml has it" in done.stderr
    assert not (folder / "assets").exists()
