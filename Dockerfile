# syntax=docker/dockerfile:1
FROM python:3.12-slim AS build
WORKDIR /source
RUN python -m pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE ./
COPY model ./model
COPY index ./index
COPY service ./service
RUN python -m build --wheel --outdir /dist

FROM python:3.12-slim AS install
# All but torch and what it brings with it is checked against its SHA-256.
# PyPI's torch for Linux carries CUDA; name an index of CPU wheels to do without.
ARG PIP_EXTRA_INDEX_URL=""
COPY constraints.txt requirements.lock /
COPY --from=build /dist /dist
RUN python -m venv /opt/twinjet \
 && /opt/twinjet/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r /requirements.lock \
 && wheel=$(ls /dist/*.whl) \
 && PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" \
    /opt/twinjet/bin/python -m pip install --no-cache-dir -c /constraints.txt "${wheel}[archives,openvino,otel,stacks]"

FROM python:3.12-slim
# pg_dump and pg_restore, for `twinjet db`: never older than the server of the compose file.
RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql-client \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 twinjet \
 && useradd --uid 10001 --gid twinjet --no-create-home --shell /usr/sbin/nologin twinjet \
 && install -d -o twinjet -g twinjet /data
COPY --from=install /opt/twinjet /opt/twinjet
ENV PATH=/opt/twinjet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TWINJET_HOME=/data \
    TWINJET_HOST=0.0.0.0
USER twinjet
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["twinjet", "serve"]
