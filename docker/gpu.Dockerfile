# Prepares data sets, trains on a GPU and exports.
#
#   docker/build gpu
#   docker run --rm --gpus all --shm-size 16g --user "$(id -u)" --volume "$PWD:/data" fae-gpu \
#       train DIR --out RUN
#
# The torch of the base image stays, since it fits the image's CUDA.
FROM pytorch/pytorch:2.9.0-cuda12.8-cudnn9-runtime

# Triton compiles a few lines of C on the machine that it runs on.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc=4:* libc6-dev=2.* \
    && rm -rf /var/lib/apt/lists/*

RUN --mount=type=bind,target=/source,rw \
    grep --invert-match --extended-regexp '^(torch|triton)==' /source/constraints.txt \
        >/tmp/constraints.txt \
    && PIP_BREAK_SYSTEM_PACKAGES=1 pip install --no-cache-dir --disable-pip-version-check \
        --root-user-action=ignore --constraint /tmp/constraints.txt \
        '/source[train,export,serve,report,s3]' \
    && rm /tmp/constraints.txt

RUN useradd --create-home --uid 10001 fae
# Any user may run the image, also one without a home.
ENV NUMBA_CACHE_DIR=/tmp/numba TRITON_CACHE_DIR=/tmp/triton HOME=/tmp
USER 10001
WORKDIR /data
ENTRYPOINT ["fae"]
CMD ["--help"]
