# syntax=docker/dockerfile:1
# What a segment, a shot and an episode run in. CUDA's libraries come with torch's wheel, the driver with the node.
# The released weights are never inside: pods mount them, read-only, by their digest.
#   docker build -f k8s/images/renderer.Dockerfile -t avatar-farm/renderer:0.1.0 .
#   docker build -f k8s/images/renderer.Dockerfile --build-arg EXTRAS=cluster -t avatar-farm/renderer-cpu:0.1.0 .
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
ARG EXTRAS=gpu,cluster
WORKDIR /build
COPY requirements/core.lock requirements/dev.lock ./
RUN python -m venv /opt/farm \
 && /opt/farm/bin/pip install --no-cache-dir --no-compile --requirement core.lock setuptools
COPY pyproject.toml README.md ./
COPY farm farm
COPY flows flows
COPY tasks tasks
COPY model model
COPY db db
RUN /opt/farm/bin/pip install --no-cache-dir --no-compile --constraint core.lock --constraint dev.lock --no-build-isolation ".[${EXTRAS}]"

FROM ${PYTHON}
# what opencv links to
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/farm /opt/farm
ENV PATH=/opt/farm/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    HF_HUB_OFFLINE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /scratch
CMD ["farm", "--help"]
