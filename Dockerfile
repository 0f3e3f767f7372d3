# The command, for those who don't want Python on their machine; .ci/build makes the wheel:
#   .ci/build && docker build -t ecsconsul .
#   docker run --rm -it -v ~/.aws:/home/lab/.aws:ro -v "$PWD:/lab" ecsconsul plan --target aws
# `up --target aws` builds images too: it needs Docker's socket (-v /var/run/docker.sock:/var/run/docker.sock).
ARG BASE=python:3.12-slim
FROM ${BASE}

COPY dist/*.whl /tmp/wheel/
RUN python3 -m pip install --no-cache-dir /tmp/wheel/*.whl && rm -r /tmp/wheel && useradd --create-home lab

USER lab
WORKDIR /lab
ENTRYPOINT ["ecsconsul"]
