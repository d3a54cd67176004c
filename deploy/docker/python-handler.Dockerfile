# syntax=docker/dockerfile:1
# An agent whose handler is a Python program (docs/HANDLERS.md): `bindu` is copied in, everything else is the program's.
# An example to start from. From the root of the repository, after the image `bindu:0.2.0` was built:
#
#   docker build -f deploy/docker/python-handler.Dockerfile -t bindu-python-agent:0.2.0 examples/python

ARG BINDU_IMAGE=bindu:0.2.0
# A stage of its own: COPY --from takes no variable.
FROM ${BINDU_IMAGE} AS bindu

# With the system's certificate authorities, which `bindu` needs for https: Node's and Debian's slim images have none until
# `ca-certificates` is installed.
FROM python:3.13-slim-bookworm
# `bindu` is static: it runs on any Linux image, musl or glibc, with or without a shell.
COPY --from=bindu /usr/local/bin/bindu /usr/local/bin/bindu
WORKDIR /app
# With dependencies of its own, install them before the program is copied, so that a change of the program is one small
# layer:
#   COPY requirements.txt .
#   RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY agent.py .
# The root file system is read-only in the manifests: no .pyc. Answers leave at once, even where a flush was forgotten.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BINDU_DATA_DIR=/data \
    BINDU_COMMAND='["python3", "/app/agent.py"]'
# The same user as in the image of `bindu`, so that both run under the same manifests.
USER 65532:65532
EXPOSE 3773 3774
ENTRYPOINT ["/usr/local/bin/bindu"]
CMD ["run"]
