# kits-submit: /input -> /output, torch-free, non-root, offline.
#   docker build -t kits-submit .                          NVIDIA GPU (CUDA 12) or CPU
#   docker build -t kits-submit --build-arg RUNTIME=cpu .  CPU alone: ONNX Runtime and OpenVINO, a fraction of the size
ARG BASE_IMAGE=python:3.11.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG RUNTIME=gpu
WORKDIR /src
COPY pyproject.toml requirements.lock ./
COPY docker/requirements.py docker/requirements.py
RUN python3 -m venv /opt/venv \
 && python3 docker/requirements.py "${RUNTIME}" > /tmp/requirements.txt \
 && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --constraint requirements.lock --requirement /tmp/requirements.txt
COPY README.md LICENSE ./
COPY kits_submit kits_submit
COPY evaluation evaluation
COPY train train
COPY export export
RUN /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps . \
 && /opt/venv/bin/python -m pip uninstall --yes pip setuptools

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="kits-submit" \
      org.opencontainers.image.description="KiTS challenge submission: kidney-tumor segmentation of CT, /input to /output" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/venv /opt/venv
COPY entrypoint.py /app/entrypoint.py
COPY models /app/models
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    KITS_MODEL=/app/models/kits.onnx \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["python", "/app/entrypoint.py"]
