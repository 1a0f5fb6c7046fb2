# docker build --tag hh-align .
# docker run --rm --volume hh-align:/home/study/hh-align/results --volume hh-align-provenance:/home/study/hh-align/.snakemake hh-align
# Never built by the tests: docs/scaling.md says what it fits.
FROM python:3.11.13-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
# made before WORKDIR, which would leave the folder to root; results/ and .snakemake/ too, so that new volumes are the user's
RUN useradd --create-home --uid 1000 study && cd /home/study && install --directory --owner=study hh-align hh-align/results hh-align/.snakemake
USER study
WORKDIR /home/study/hh-align
COPY --chown=study Makefile requirements.in requirements.lock ./
RUN make packages
COPY --chown=study . .
RUN make env
ENV PATH=/home/study/hh-align/.venv/bin:$PATH
CMD ["make", "demo"]
