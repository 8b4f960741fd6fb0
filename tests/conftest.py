"""What tests share: quiet, offline libraries on one thread, a tiny random model, real data where it is at hand."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles the code of its copy of the project
os.environ.update(
    PREFECT_HOME=str(Path(__file__).parent.parent / ".work/test-prefect"),  # not that of a server that is up here
    HF_HUB_OFFLINE="1",
    DO_NOT_TRACK="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    TOKENIZERS_PARALLELISM="false",
    COLUMNS="200",
    NO_COLOR="1",
)

import pytest  # noqa: E402
import workspace  # noqa: E402

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


def _jails_work() -> bool:
    """Can this user build jails on this machine?"""
    from greenlit.execution.blueprint import Blueprint, NoJail
    from greenlit.execution.lane import Lane

    for way in ("root", "user"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                Lane(Blueprint(way), Path(folder) / "jail").close()
            except NoJail:
                continue
            return True
    return False


LEVELS = [
    pytest.param("namespaces", marks=pytest.mark.skipif(not _jails_work(), reason="no namespaces on this machine")),
    "portable",
]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real records beside the checkout; tests that need them skip, visibly, where there are none."""
    if not SHARED.is_dir():
        pytest.skip("needs the real records in ../shared/data")
    return SHARED


def save_tiny_model(folder: Path, seed: int = 0, chat_template: str | None = None, hidden: int = 32) -> Path:
    """A Llama of two narrow layers with random weights and a byte-level tokenizer: writes gibberish, fast."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    fast.chat_template = chat_template
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=512, pad_token_id=0, eos_token_id=1,
        bos_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain-text model."""
    return save_tiny_model(tmp_path_factory.mktemp("model"))


CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}<eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer has a chat template."""
    return save_tiny_model(tmp_path_factory.mktemp("chat"), chat_template=CHAT_TEMPLATE)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The tiny preset, run once with `greenlit run`; for looking at, not for changing.

    Processes of pytest-xdist share the run, and each has a copy of it.
    """
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    made = shared / "tiny-made"
    with (shared / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "stdout.txt").exists():
            workspace.make_workspace(made, "tiny")
            began = time.monotonic()
            done = workspace.greenlit(made, "run")
            (made / "took_s.txt").write_text(f"{time.monotonic() - began:.1f}")
            (made / "stdout.txt").write_text(done.stdout)
        return Path(shutil.copytree(made, tmp_path_factory.mktemp("tiny") / "project", symlinks=True))


@pytest.fixture(scope="session")
def warm_process() -> Iterator[str]:
    """Socket of a process that has torch, transformers, TRL and MLflow loaded, and forks for a stage: tests/warm."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # a socket's path has to be short
    said, address = folder / "said.txt", folder / "socket"
    with said.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, workspace.WARM / "warm_process.py", address],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    until = time.monotonic() + 180
    while "warm\n" not in said.read_text():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < until, "the warm process does not come up"
        time.sleep(0.1)
    yield str(address)
    process.kill()
    process.wait()
    shutil.rmtree(folder)


@pytest.fixture
def warm(warm_process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that load torch or MLflow start warm in this test."""
    workspace.start_warm(monkeypatch, warm_process)


@pytest.fixture(scope="module")
def warm_module(warm_process: str) -> Iterator[None]:
    """They do in this module."""
    with pytest.MonkeyPatch.context() as patch:
        workspace.start_warm(patch, warm_process)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: what takes longest must not come last when several processes share the work.

    First of all the one that takes longest and does without `tiny`, which another process makes meanwhile.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.name != "test_starter.py"))


@pytest.fixture(scope="session")
def made_project(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, warm_process: str) -> Path:
    """A small project after `build`; copy it before changing it (`project` does)."""
    import faults

    with pytest.MonkeyPatch.context() as patch:
        workspace.start_warm(patch, warm_process)
        return faults.make_project(tmp_path_factory.mktemp("made"), tiny_model)


@pytest.fixture
def project(made_project: Path, tmp_path: Path) -> Path:
    """A copy of the small project, to break."""
    return Path(shutil.copytree(made_project, tmp_path / "project", symlinks=True))
