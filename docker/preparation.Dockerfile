# Prepares data sets and scores with exported models, on CPUs. It has no torch.
#
#   docker/build preparation
#   docker run --rm --user "$(id -u)" --volume "$PWD:/data" fae-preparation \
#       prepare 'logs/*.gz' --schema criteo-kaggle --hot-budget 256MiB --out DIR
FROM python:3.13.9-slim-bookworm

# Bound and not copied, so that the sources take no layer; what is built there is thrown away.
RUN --mount=type=bind,target=/source,rw \
    pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --constraint /source/constraints.txt '/source[report,s3,serve]'

RUN useradd --create-home --uid 10001 fae
# Any user may run the image, also one without a home.
ENV NUMBA_CACHE_DIR=/tmp/numba HOME=/tmp
USER 10001
WORKDIR /data
ENTRYPOINT ["fae"]
CMD ["--help"]
