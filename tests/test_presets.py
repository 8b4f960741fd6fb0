"""`greenlit preset`: shows what changes, loses no edit, changes nothing when anything is wrong."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import workspace

from greenlit import presets
from greenlit.errors import ConfigError

ROOT = Path(__file__).parent.parent
STARTER = (ROOT / "presets/starter.yaml").read_bytes()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project with the preset tiny, all committed."""
    folder = workspace.make_workspace(tmp_path / "project", "tiny")
    monkeypatch.chdir(folder)
    return folder


def edit(folder: Path, before: str = "seed: 0", after: str = "seed: 7") -> bytes:
    """Change params.yaml; return what it holds then."""
    params = folder / "params.yaml"
    assert before in params.read_text()
    params.write_text(params.read_text().replace(before, after))
    return params.read_bytes()


def commit(folder: Path) -> None:
    author = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *author, "commit", "-qam", "edit"], cwd=folder, check=True)


def test_all_are_listed_with_what_they_are_for(project: Path) -> None:
    (project / "presets/empty.yaml").write_text("")
    listed = workspace.greenlit(project, "preset").stdout.splitlines()
    assert {line.split()[0] for line in listed} == {path.stem for path in (project / "presets").glob("*.yaml")}
    (starter,) = [line for line in listed if line.startswith("starter ")]
    assert starter.endswith("(this is params.yaml as it comes)")


def test_swapping_shows_the_difference_and_leaves_the_preset(project: Path) -> None:
    done = workspace.greenlit(project, "preset", "starter")
    assert (project / "params.yaml").read_bytes() == STARTER
    assert "--- params.yaml\n+++ presets/starter.yaml\n" in done.stderr
    assert "\n-experiment: tiny\n" in done.stderr
    assert "\n+experiment: starter" in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout == ""
    assert not list(project.glob("params.yaml.*"))
    again = workspace.greenlit(project, "preset", "starter")
    assert "@@" not in again.stderr


def test_the_difference_alone_goes_to_stdout_and_changes_nothing(project: Path) -> None:
    before = edit(project)
    done = workspace.greenlit(project, "preset", "starter", "--diff")
    assert done.stdout.startswith("--- params.yaml\n+++ presets/starter.yaml\n")
    assert (project / "params.yaml").read_bytes() == before
    (project / "patch").write_text(done.stdout)
    subprocess.run(["patch", "-s", "params.yaml", "patch"], cwd=project, check=True)
    assert (project / "params.yaml").read_bytes() == STARTER


def test_the_difference_is_coloured_on_a_terminal(project: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**workspace.environment(project), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR")
    command = [sys.executable, "-m", "greenlit.cli", "preset", "starter", "--diff"]
    done = subprocess.Popen(command, cwd=project, env=environment, stdout=theirs)
    text = b""
    while b"register" not in text:
        text += os.read(ours, 1 << 16)
    assert done.wait() == 0
    assert b"\x1b[32m+experiment: starter" in text
    assert b"\x1b[31m-experiment: tiny" in text


def test_edits_that_are_saved_nowhere_are_refused_with_their_lines(project: Path) -> None:
    before = edit(project)
    done = workspace.greenlit(project, "preset", "starter", code=2)
    assert done.stderr.startswith("error: params.yaml: holds edits that are saved nowhere; nothing was changed:")
    assert "--- params.yaml (committed)\n" in done.stderr
    assert "\n-seed: 0\n+seed: 7\n" in done.stderr
    assert done.stderr.endswith(
        "hint: commit it, save it as presets/<name>.yaml, or --force (which keeps it as params.yaml.bak)\n"
    )
    assert (project / "params.yaml").read_bytes() == before


def test_a_preset_in_use_can_be_refreshed_only_when_nothing_is_lost(project: Path) -> None:
    edit(project)
    workspace.greenlit(project, "preset", "tiny", code=2)


def test_force_keeps_the_edits_and_every_older_backup(project: Path) -> None:
    kept = []
    for seed in (7, 8, 9):
        kept.append(edit(project, "seed: 0", f"seed: {seed}"))
        done = workspace.greenlit(project, "preset", "tiny", "--force")
        assert "kept your params.yaml as params.yaml.bak" in done.stderr
    found = [(project / f"params.yaml.{ending}").read_bytes() for ending in ("bak", "bak.1", "bak.2")]
    assert found == kept
    workspace.greenlit(project, "preset", "starter", "--force")
    assert not (project / "params.yaml.bak.3").exists(), "there was nothing to keep"
    status = subprocess.run(["git", "status", "--short"], cwd=project, capture_output=True, text=True, check=True)
    assert "bak" not in status.stdout


def test_committed_edits_and_edits_saved_as_a_preset_may_go(project: Path) -> None:
    edit(project)
    commit(project)
    workspace.greenlit(project, "preset", "starter")
    edit(project, "seed: 0", "seed: 8")
    (project / "presets/mine.yaml").write_bytes((project / "params.yaml").read_bytes())
    workspace.greenlit(project, "preset", "tiny")
    workspace.greenlit(project, "preset", "mine")
    assert b"seed: 8" in (project / "params.yaml").read_bytes()


def test_without_git_the_likest_preset_is_what_edits_are_told_against(project: Path) -> None:
    (project / ".git").rename(project / "no-git")
    assert presets.unsaved_edits() == []
    edit(project)
    assert presets.unsaved_edits()[:2] == ["--- presets/tiny.yaml", "+++ params.yaml"]
    assert "+seed: 7" in presets.unsaved_edits()


def test_line_ends_are_no_edit_and_no_file_has_none(project: Path) -> None:
    params = project / "params.yaml"
    params.write_bytes(params.read_bytes().replace(b"\n", b"\r\n"))
    assert presets.unsaved_edits() == []
    params.unlink()
    assert presets.unsaved_edits() == []
    workspace.greenlit(project, "preset", "starter")
    assert params.read_bytes() == STARTER


def test_long_edits_are_told_in_part(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text("".join(f"key{i}: {i}\n" for i in range(100)))
    with pytest.raises(ConfigError, match=r"\.\.\. and \d+ lines more\n"):
        presets.swap(project / "presets/starter.yaml", force=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("startr", None, "error: no preset 'startr'\nhint: did you mean starter?\n"),
        ("xyz", None, "error: no preset 'xyz'\nhint: one of "),
        ("../params", None, "error: no preset '../params'\n"),
        ("bad", b"experiment: x\nseed: -1\n", "\npresets/bad.yaml: dataset: is missing\n"),
        ("bad", b"a: [1", "error: presets/bad.yaml:1: not YAML"),
        ("bad", b"\xff", "error: presets/bad.yaml: not UTF-8 (byte 0xff at position 0)"),
    ],
)
def test_what_is_no_preset_is_refused_and_nothing_changes(
    project: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (project / f"presets/{name}.yaml").write_bytes(content)
    before = edit(project)
    done = workspace.greenlit(project, "preset", name, "--force", code=2)
    assert message in done.stderr
    assert (project / "params.yaml").read_bytes() == before
    assert not list(project.glob("params.yaml.*"))


def test_an_interrupted_swap_leaves_the_old_file_whole(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (project / "params.yaml").read_bytes()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        presets.swap(project / "presets/starter.yaml", force=False)
    assert (project / "params.yaml").read_bytes() == before
