# One image for a laptop, a server and SageMaker: the packages of requirements.lock, the code, no root.
#
#   docker build -f docker/train.Dockerfile -t greenlit:train .                                     CPU
#   docker build -f docker/train.Dockerfile -t greenlit:train-gpu --build-arg VARIANT=gpu .         CUDA, vLLM
#
# SageMaker: push it as greenlit:train-cpu or greenlit:train-gpu to your account's registry (docs/sagemaker.md).
# The command is docker/job.py, which finds everything by SM_* variables; any other command runs as it stands:
#
#   docker run --rm -v "$PWD:/project" -w /project greenlit:train python -m tasks.train --method dpo

FROM python:3.11-slim-bookworm

ARG VARIANT=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG USER_ID=1000

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    DO_NOT_TRACK=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# git: DVC and the commit in manifests; nodejs: programs in JavaScript; bubblewrap: a sandbox where namespaces are refused
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends bash git nodejs bubblewrap \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /greenlit

# packages before code: a change of the code builds in seconds
COPY requirements.txt requirements-gpu.txt requirements.lock ./
RUN if [ "$VARIANT" = gpu ]; then \
        pip install -r requirements-gpu.txt -c requirements.lock; \
    else \
        pip install --index-url "$TORCH_INDEX" torch==2.13.0 && pip install -r requirements.txt -c requirements.lock; \
    fi

COPY pyproject.toml README.md LICENSE dvc.yaml params.yaml ./
COPY src ./src
COPY tasks ./tasks
COPY flows ./flows
COPY custom ./custom
COPY presets ./presets
COPY docker/job.py ./docker/job.py
# /prefect and /mlartifacts are volumes of compose.yaml, which take over their owner
RUN pip install --no-deps --no-build-isolation -e . \
    && useradd --create-home --uid "$USER_ID" greenlit \
    && mkdir /prefect /mlartifacts \
    && chown greenlit /greenlit /prefect /mlartifacts

USER $USER_ID
CMD ["python", "/greenlit/docker/job.py"]
