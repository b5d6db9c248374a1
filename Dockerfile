# Two images from one lock: `pipeline` runs the stages and MLflow's server, `service` answers.
# A second lock for serving would be a second resolution to keep equal; the service's image drops what it must not hold.
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

FROM base AS packages
COPY requirements.lock ./
RUN python -m venv .venv && .venv/bin/python -m pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock
COPY . .
RUN .venv/bin/python -m pip install --no-cache-dir --no-index --no-deps --no-build-isolation -e .

# DVC's cache index (diskcache) unpickles what lies in its folder: none of it where requests are answered.
FROM packages AS service-packages
RUN .venv/bin/python -m pip uninstall --yes dvc dvc-data dvc-objects diskcache

FROM base AS pipeline
COPY --from=packages --chown=panthera /app /app
USER panthera
# The image holds no git history.
RUN dvc config --local core.no_scm true
CMD ["dvc", "repro"]

FROM base AS service
COPY --from=service-packages /app /app
USER panthera
EXPOSE 3000
CMD ["bentoml", "serve", "serving.service:PredictionService", "--host", "0.0.0.0", "--port", "3000"]
