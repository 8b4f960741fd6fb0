"""What makes a folder with weights a real MLflow model: the small files beside them.

`mlflow.transformers.log_model` would load the weights into memory and store them a second time. So the `MLmodel` file
is written here, for the flavor python_function: https://mlflow.org/docs/latest/ml/model/#storage-format
"""

import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from greenlit.jsonl import atomic_write

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

WEIGHTS = "merged"
"""Folder of the weights inside the model's."""
_CODE = "code"
_NEEDED = ("mlflow", "torch", "transformers", "accelerate")


def write_flavor(folder: Path, run_id: str, artifact_path: str) -> None:
    """Write `MLmodel`, the code that loads, and what it has to be installed with.

    Args:
        folder: gets all of it; the weights come beside it later, as `merged/`.
        run_id: MLflow's run, whose artifact the model is.
        artifact_path: its name there.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    code = folder / _CODE
    code.mkdir(parents=True)
    shutil.copyfile(Path(__file__).with_name("serving.py"), code / "greenlit_serving.py")
    installed = [f"{name}=={version(name).partition('+')[0]}" for name in _NEEDED]
    for file, lines in (
        ("requirements.txt", installed),
        ("python_env.yaml", [f"python: {platform.python_version()}", "dependencies:", "- -r requirements.txt"]),
    ):
        with atomic_write(folder / file) as stream:
            stream.write("\n".join(lines) + "\n")
    model = Model(artifact_path=artifact_path, run_id=run_id, signature=_signature())
    pyfunc.add_to_model(model, loader_module="greenlit_serving", data=WEIGHTS, code=_CODE, python_env="python_env.yaml")
    model.save(str(folder / "MLmodel"))


def _signature() -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    given = (
        ("max_new_tokens", DataType.long, 512),
        ("temperature", DataType.double, 0.0),
        ("top_p", DataType.double, 1.0),
        ("seed", DataType.long, 0),
    )
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "prompt")]),
        outputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema([ParamSpec(*one) for one in given]),
    )
