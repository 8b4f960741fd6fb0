"""Which of our parameters become which of the trainer's arguments: the part that all methods share."""

from pathlib import Path
from typing import Any

from greenlit.config import TrainingParams
from greenlit.training.targets import is_transposed, target_modules


def trainer_arguments(params: TrainingParams, output_dir: Path, seed: int, cuda: bool) -> dict[str, Any]:
    """Arguments of transformers.TrainingArguments (and of TRL's configs, which extend it).

    TRL's defaults are for large models on accelerators: bf16, gradient checkpointing and a learning rate of 1e-6 are
    all stated here instead of inherited.
    """
    return {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": params.batch_size,
        "gradient_accumulation_steps": params.accumulate,
        "per_device_eval_batch_size": params.batch_size,
        "num_train_epochs": params.epochs,
        "max_steps": params.max_steps or -1,
        "learning_rate": params.learning_rate,
        "lr_scheduler_type": params.schedule,
        "warmup_steps": params.warmup_ratio,
        "weight_decay": params.weight_decay,
        "max_grad_norm": params.max_grad_norm,
        "max_length": params.max_length,
        "bf16": params.dtype == "bfloat16",
        "use_cpu": not cuda,
        "gradient_checkpointing": params.gradient_checkpointing,
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # it would show the mean of the steps before in place of nan
        "eval_strategy": "no",  # training/callbacks.py says when
        "prediction_loss_only": True,
        "save_strategy": "no",  # training/checkpoints.py says when
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "seed": seed,
        "data_seed": seed,
    }


def lora_config(params: TrainingParams, model: Any = None) -> Any:
    """peft's configuration, or None to train all weights.

    Args:
        model: what it is for; without it, `target_modules: attention` and wrong names are not resolved.

    Raises:
        ConfigError: the model has no modules of these names.
    """
    if params.lora is None:
        return None
    from peft import LoraConfig

    targets = params.lora.target_modules
    return LoraConfig(
        r=params.lora.r,
        lora_alpha=params.lora.alpha,
        lora_dropout=params.lora.dropout,
        target_modules=targets if model is None else target_modules(model, targets),
        fan_in_fan_out=model is not None and is_transposed(model),
        task_type="CAUSAL_LM",
    )
