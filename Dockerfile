# One image for every service: `huleedu serve` runs all in one process, `huleedu serve NAME` one of them.

FROM node:20-bookworm-slim AS node

FROM python:3.11-slim-bookworm AS build
# No version is named: Debian keeps one of each package, the mended one.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
COPY --from=node /usr/local/bin/node /usr/local/bin/
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /build
# First what changes seldom: the environment in which the wheel is built comes from the cache then.
COPY Makefile requirements.lock ./
COPY scripts/uv.txt scripts/
RUN make .venv/.environment
COPY . .
RUN make dist
RUN python -m venv /opt/huleedu \
    && /opt/huleedu/bin/pip install --no-cache-dir --disable-pip-version-check \
        --constraint dist/huleedu-*-constraints.txt "$(echo dist/huleedu-*.whl)[kafka,otel,redis,s3]"

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="HuleEdu" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin huleedu \
    && install --directory --owner huleedu --group huleedu --mode 700 /data
COPY --from=build /opt/huleedu /opt/huleedu
# In a container, 0.0.0.0 is its own network: who reaches it is said by what publishes a port.
ENV PATH=/opt/huleedu/bin:$PATH \
    HULEEDU_DATA_DIR=/data \
    HULEEDU_HOST=0.0.0.0 \
    HULEEDU_INTERNAL_HOST=0.0.0.0 \
    HULEEDU_INTERNAL_PORT=4002
USER 10001:10001
WORKDIR /data
EXPOSE 4001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:4002/healthz', timeout=4)"]
ENTRYPOINT ["huleedu"]
CMD ["serve"]
