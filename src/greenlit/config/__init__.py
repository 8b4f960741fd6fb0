"""params.yaml: its parts and defaults (`sections`, `rewards`, `training`), and how it is read.

`yaml_file` reads the file, `reading` tells its faults.
"""

from greenlit.config.feedback import AiParams, HumanParams, JudgeParams
from greenlit.config.reading import (
    PARAMS,
    load_params,
    load_params_and_method,
    load_params_and_reward_model,
    method_of,
    parse_params,
    parse_reward_model,
)
from greenlit.config.rewards import RewardsParams
from greenlit.config.section import Name, Section
from greenlit.config.sections import (
    AnnotateParams,
    BaseParams,
    BuildParams,
    DatasetParams,
    EvaluateParams,
    GenerateParams,
    Limits,
    Params,
    PrepareParams,
    RegisterParams,
    ReportParams,
    SamplingParams,
    StarterModelParams,
    Tracker,
    TrackingParams,
    json_schema,
)
from greenlit.config.training import (
    DpoParams,
    GrpoParams,
    LoraParams,
    MethodParams,
    OnlineParams,
    PpoParams,
    RewardModelParams,
    RlooParams,
    SftParams,
    TrainingParams,
    VllmParams,
)
from greenlit.config.yaml_file import parse_yaml, read_yaml

__all__ = [
    "PARAMS",
    "AiParams",
    "AnnotateParams",
    "BaseParams",
    "BuildParams",
    "DatasetParams",
    "DpoParams",
    "EvaluateParams",
    "GenerateParams",
    "GrpoParams",
    "HumanParams",
    "JudgeParams",
    "Limits",
    "LoraParams",
    "MethodParams",
    "Name",
    "OnlineParams",
    "Params",
    "PpoParams",
    "PrepareParams",
    "RegisterParams",
    "ReportParams",
    "RewardModelParams",
    "RewardsParams",
    "RlooParams",
    "SamplingParams",
    "Section",
    "SftParams",
    "StarterModelParams",
    "Tracker",
    "TrackingParams",
    "TrainingParams",
    "VllmParams",
    "json_schema",
    "load_params",
    "load_params_and_method",
    "load_params_and_reward_model",
    "method_of",
    "parse_params",
    "parse_reward_model",
    "parse_yaml",
    "read_yaml",
]
