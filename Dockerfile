# The gateway as an image: `docker build .`, and with the embedded engines: `docker build --target embedded .`
# Nothing is installed that is not in a lock file with its hash. The base is named once. Its digest could not be asked for where this was
# written (no registry was reached): `scripts/base_digest.py --write` puts it here where one is, a release is refused without, and Dependabot
# proposes each newer one (it looks at FROM, not at ARG). Another base: `buildah build --from IMAGE`.
FROM docker.io/library/python:3.11-slim-bookworm AS python

# --- the tools: compiler, pip; nothing of this stage but /opt/voicefsm goes on ----------------------------------------------------
FROM python AS tools
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008  # Debian takes old versions of its packages off its mirrors: a pin would break the build, not fix it
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY deploy/image/ deploy/image/
# The environment that goes into the image has no pip; that of /opt/build puts things into it.
RUN python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/voicefsm \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r deploy/image/build.lock

# --- our own package: a wheel, with the echo canceller compiled into it -------------------------------------------------------------
FROM tools AS wheel
COPY pyproject.toml hatch_build.py README.md LICENSE NOTICE ./
COPY voicefsm/ voicefsm/
RUN VOICEFSM_NATIVE=require /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

# --- environments: what they need changes seldom, the wheel often -------------------------------------------------------------------
FROM tools AS gateway-environment
RUN /opt/build/bin/pip --python /opt/voicefsm/bin/python install --no-cache-dir --require-hashes --no-deps --only-binary :all: \
        -r deploy/image/runtime.lock
COPY --from=wheel /wheels/ /wheels/
# The tests of the libraries are for their developers: a tenth of the size.
RUN /opt/build/bin/pip --python /opt/voicefsm/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && find /opt/voicefsm/lib -type d -name tests -prune -exec rm -rf {} +
COPY deploy/image/healthcheck.py /opt/voicefsm/healthcheck.py

FROM tools AS embedded-environment
RUN /opt/build/bin/pip --python /opt/voicefsm/bin/python install --no-cache-dir --require-hashes --no-deps --only-binary :all: \
        -r deploy/image/embedded.lock
COPY --from=wheel /wheels/ /wheels/
# The tests of the libraries are for their developers: a tenth of the size.
RUN /opt/build/bin/pip --python /opt/voicefsm/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && find /opt/voicefsm/lib -type d -name tests -prune -exec rm -rf {} +
COPY deploy/image/healthcheck.py /opt/voicefsm/healthcheck.py

# --- what both images are: no compiler, no pip of ours, nobody who may write ----------------------------------------------------------
FROM python AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=https://github.com/voicefsm/voicefsm
LABEL org.opencontainers.image.title="voicefsm" \
      org.opencontainers.image.description="A full-duplex voice conversation engine" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}/tree/main/docs"
# A read-only root has no place for byte code (it was compiled above), nor for a home.
ENV PATH=/opt/voicefsm/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /tmp
EXPOSE 50055
STOPSIGNAL SIGTERM
# For Docker and podman; Kubernetes asks the same service itself. Neither needs a shell. Not oftener: each time a Python starts.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["/opt/voicefsm/bin/python", "/opt/voicefsm/healthcheck.py"]
ENTRYPOINT ["/opt/voicefsm/bin/voicefsm"]
CMD ["serve", "--host", "0.0.0.0"]

# --- with the engines: espeak-ng is GPL-3.0 (NOTICE), so this image is another one ----------------------------------------------------
FROM runtime AS embedded
USER 0:0
# hadolint ignore=DL3008  # as above
RUN apt-get update \
    && apt-get install -y --no-install-recommends libflite1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=embedded-environment /opt/voicefsm/ /opt/voicefsm/
USER 1000:1000
CMD ["serve", "--embedded", "--host", "0.0.0.0"]

# --- the gateway alone: the default ----------------------------------------------------------------------------------------------------
FROM runtime AS gateway
COPY --from=gateway-environment /opt/voicefsm/ /opt/voicefsm/
