# kits-submit: /input -> /output, torch-free, non-root, offline.
#   docker build -t kits-submit .                          NVIDIA GPU (CUDA 12) or CPU
#   docker build -t kits-submit --build-arg RUNTIME=cpu .  CPU alone: ONNX Runtime and OpenVINO, a fraction of the size
#   docker build -t kits-submit --build-arg EXTRAS=dicom .  DICOM series in /input too
# `make image MODEL=build/kits.onnx` bakes in another model; one mounted at /opt/ml/model comes before the baked one.
# What it answers to: kits_submit/container.py. Is this machine fit? docker run --rm [--gpus all] kits-submit doctor
ARG BASE_IMAGE=python:3.11.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG RUNTIME=gpu
ARG EXTRAS=
WORKDIR /src
COPY pyproject.toml setup.py requirements.lock ./
COPY docker docker
RUN python3 -m venv /opt/venv \
 && python3 docker/requirements.py "${RUNTIME}" "${EXTRAS}" > /tmp/requirements.txt \
 && /opt/venv/bin/python -m pip install --no-cache-dir --no-compile --disable-pip-version-check --constraint requirements.lock --requirement /tmp/requirements.txt
COPY README.md LICENSE ./
COPY kits_submit kits_submit
COPY evaluation evaluation
COPY train train
COPY export export
RUN /opt/venv/bin/python -m pip install --no-cache-dir --no-compile --disable-pip-version-check --no-deps . \
 && /opt/venv/bin/python -m pip uninstall --yes pip setuptools \
 && python3 docker/slim.py /opt/venv \
 && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="kits-submit" \
      org.opencontainers.image.description="KiTS challenge submission: kidney-tumor segmentation of CT, /input to /output" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/venv /opt/venv
COPY entrypoint.py /app/entrypoint.py
ARG MODEL=models/kits.onnx
ARG NAMES=kits
COPY ${MODEL} /app/models/kits.onnx
# A new named volume takes this folder's mode, so that any user may write predictions beside its cases.
RUN mkdir /input \
 && chmod 1777 /input
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    TMPDIR=/tmp \
    XDG_CACHE_HOME=/tmp \
    KITS_NAMES=${NAMES} \
    ORT_DISABLE_TELEMETRY=1 \
    OPENVINO_TELEMETRY_OPTOUT=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["python", "/app/entrypoint.py"]
