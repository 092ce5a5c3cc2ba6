# syntax=docker/dockerfile:1
# The workers and the sweeper: Prefect's Kubernetes worker and `python -m tasks.cluster`. No torch.
#   docker build -f k8s/images/worker.Dockerfile -t avatar-farm/worker:0.1.0 .
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
WORKDIR /build
COPY requirements/core.lock requirements/dev.lock ./
RUN python -m venv /opt/farm \
 && /opt/farm/bin/pip install --no-cache-dir --no-compile --constraint core.lock --constraint dev.lock \
      prefect prefect-kubernetes kubernetes pydantic-settings setuptools
COPY pyproject.toml README.md ./
COPY farm farm
COPY flows flows
COPY tasks tasks
COPY model model
COPY db db
# its dependencies are above: the worker runs the farm's ground, not its network
RUN /opt/farm/bin/pip install --no-cache-dir --no-compile --no-deps --no-build-isolation .

FROM ${PYTHON}
COPY --from=build /opt/farm /opt/farm
ENV PATH=/opt/farm/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1
USER 10001:10001
WORKDIR /home/farm
CMD ["prefect", "worker", "start", "--pool", "farm-gpu", "--type", "kubernetes"]
