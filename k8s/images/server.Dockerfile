# syntax=docker/dockerfile:1
# The Prefect server: API, dashboard, schedules, automations. None of the farm's code, no torch.
# SQLAlchemy below 2.1: with 2.1 this Prefect's scheduler cannot insert the runs of a schedule. The farm itself takes 2.1.
#   docker build -f k8s/images/server.Dockerfile -t avatar-farm/server:0.1.0 .
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
WORKDIR /build
COPY requirements/core.lock core.lock
RUN python -m venv /opt/farm \
 && grep -v -i '^sqlalchemy==' core.lock > server.lock \
 && /opt/farm/bin/pip install --no-cache-dir --no-compile --constraint server.lock prefect asyncpg 'sqlalchemy>=2.0,<2.1'

FROM ${PYTHON}
COPY --from=build /opt/farm /opt/farm
ENV PATH=/opt/farm/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false
USER 10001:10001
WORKDIR /home/farm
EXPOSE 4200
CMD ["prefect", "server", "start", "--host", "0.0.0.0"]
