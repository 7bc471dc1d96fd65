# The two images of kube-vrrp: `--target speaker` and `--target operator`.
#
# Arguments: BASE_IMAGE (a Python 3.11 or newer at `python3`; name a digest for a release), VERSION, REVISION.
# Build secrets, both optional: `ca` is a bundle of certificate authorities that pip trusts, `pip` a pip.conf: what a build
# behind a corporate proxy or mirror needs. Neither ends up in an image.
#
# The requirements name every package by version and hash, so pip resolves nothing (--no-deps): what an index got since then changes no build.
# The package index is asked in these stages only; nothing is installed when a container starts. Byte code is made at build
# time, since the containers' file systems are read-only, and is not checked against its source at each start.
# Dependencies and our own code are separate layers, so a change of code moves kilobytes.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
COPY requirements/build.txt /src/requirements/build.txt
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi; \
    python3 -m venv /tools && /tools/bin/pip install --quiet --require-hashes --no-deps -r /src/requirements/build.txt \
    && python3 -m venv --without-pip /opt/kube-vrrp

FROM tools AS speaker-dependencies
COPY requirements/speaker.txt /src/requirements/speaker.txt
COPY scripts/prune-kubernetes /src/scripts/prune-kubernetes
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi; \
    /tools/bin/pip --python /opt/kube-vrrp/bin/python install --quiet --no-compile --require-hashes --no-deps -r /src/requirements/speaker.txt \
    && python3 /src/scripts/prune-kubernetes /opt/kube-vrrp/lib/python3.*/site-packages custom_objects_api \
    && find /opt/kube-vrrp/bin -mindepth 1 -not -name 'python*' -delete \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/kube-vrrp/lib

FROM tools AS operator-dependencies
COPY requirements/operator.txt /src/requirements/operator.txt
COPY scripts/prune-kubernetes /src/scripts/prune-kubernetes
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi; \
    /tools/bin/pip --python /opt/kube-vrrp/bin/python install --quiet --no-compile --require-hashes --no-deps -r /src/requirements/operator.txt \
    && python3 /src/scripts/prune-kubernetes /opt/kube-vrrp/lib/python3.*/site-packages \
    && find /opt/kube-vrrp/bin -mindepth 1 -not -name 'python*' -delete \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/kube-vrrp/lib

# Installed below /code as if that were the root, so that the images can take it as a layer of its own.
FROM tools AS speaker-code
COPY crds /src/crds
COPY speaker /src/speaker
RUN /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels /src/crds /src/speaker \
    && /tools/bin/pip --python /opt/kube-vrrp/bin/python install --quiet --no-compile --no-deps --no-index --root /code /wheels/*.whl \
    && python3 -m compileall -q --invalidation-mode unchecked-hash -s /code -p / /code/opt/kube-vrrp/lib

FROM tools AS operator-code
COPY crds /src/crds
COPY operator /src/operator
RUN /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels /src/crds /src/operator \
    && /tools/bin/pip --python /opt/kube-vrrp/bin/python install --quiet --no-compile --no-deps --no-index --root /code /wheels/*.whl \
    && python3 -m compileall -q --invalidation-mode unchecked-hash -s /code -p / /code/opt/kube-vrrp/lib

FROM ${BASE_IMAGE} AS runtime
# PYTHONSAFEPATH: nothing is ever imported from the working directory
ENV PATH=/opt/kube-vrrp/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /
# libraries ask for the name of the user they run as
RUN echo 'kube-vrrp:x:65532:65532:kube-vrrp:/:/usr/sbin/nologin' >>/etc/passwd && echo 'kube-vrrp:x:65532:' >>/etc/group

FROM runtime AS operator
COPY --from=operator-dependencies /opt/kube-vrrp /opt/kube-vrrp
COPY --from=operator-code /code/opt/kube-vrrp /opt/kube-vrrp
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="kube-vrrp operator" \
      org.opencontainers.image.description="Decides which nodes announce which virtual IP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
ENTRYPOINT ["vip-operator"]

# The agent runs as this user; the pod gives the router's container root with NET_ADMIN and NET_RAW.
FROM runtime AS speaker
COPY --from=speaker-dependencies /opt/kube-vrrp /opt/kube-vrrp
COPY --from=speaker-code /code/opt/kube-vrrp /opt/kube-vrrp
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="kube-vrrp speaker" \
      org.opencontainers.image.description="The VRRP router of a node, its guard and its agent" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
ENTRYPOINT ["vip-speaker"]
