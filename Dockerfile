# One image for all parts: the processor, the API, deliver and every other verb of `streamgauge`.
# Debian, not Alpine: Bytewax has no wheels for musl.
FROM python:3.12.12-slim-bookworm AS builder

ENV UV_FROZEN=1 \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/streamgauge
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore uv==0.13.9

WORKDIR /src
# What others wrote, in a layer of its own: it changes when the lock does, and not with each line of ours.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --no-dev --extra s3 --extra otel --no-install-project
COPY README.md LICENSE hatch_build.py ./
COPY catalogs catalogs
COPY models models
COPY sinks sinks
COPY stream stream
COPY live_api live_api
COPY streamgauge streamgauge
# Builds the wallboard too, with a Node that comes from PyPI: nothing but PyPI and npm is asked.
RUN --mount=type=cache,target=/root/.cache/uv uv sync --no-dev --extra s3 --extra otel --no-editable

FROM python:3.12.12-slim-bookworm

LABEL org.opencontainers.image.title="streamgauge" \
      org.opencontainers.image.description="Live metrics, alerts and predictions from Valkey streams" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/streamgauge/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/streamgauge \
    USER=streamgauge \
    STREAMGAUGE_STATE=/var/lib/streamgauge
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/streamgauge
COPY --from=builder /opt/streamgauge /opt/streamgauge

# By number, so that Kubernetes can see that it is not root's.
USER 10001:10001
WORKDIR /var/lib/streamgauge
VOLUME /var/lib/streamgauge
STOPSIGNAL SIGTERM
# Which part it is depends on the verb: docker-compose.yml and deploy/kubernetes say so to theirs.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["streamgauge", "health"]
ENTRYPOINT ["streamgauge"]
CMD ["--help"]
