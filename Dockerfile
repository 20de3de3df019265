# Two small images from one file: `worker` (the default: worker, migrations, queries) and `gateway`
# (the example web service on the bare install). Neither has a compiler, uv or root.
#   docker build --target worker .

FROM python:3.11.14-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY requirements.txt pyproject.toml ./
# The same uv, and below the same packages, as were tested.
RUN python -m pip install --no-cache-dir --disable-pip-version-check \
        "$(grep '^uv==' requirements.txt)" \
    && uv venv /opt/usagepipe
# Where uv installs to.
ENV UV_PYTHON=/opt/usagepipe/bin/python

# Packages first: a change of our own code builds only the last layer anew.
FROM build AS build-worker
RUN uv pip install --constraint requirements.txt \
        --requirement pyproject.toml --extra consumer --extra query
COPY . .
RUN uv pip install --no-deps .

FROM build AS build-gateway
RUN uv pip install --constraint requirements.txt \
        --requirement pyproject.toml fastapi uvicorn
COPY . .
RUN uv pip install --no-deps .

FROM python:3.11.14-slim-bookworm AS runtime
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin usagepipe \
    && install --directory --owner=10001 --group=10001 --mode=700 /var/lib/usagepipe
ENV PATH=/opt/usagepipe/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv
USER 10001:10001

FROM runtime AS gateway
COPY --from=build-gateway /opt/usagepipe /opt/usagepipe
COPY examples/gateway.py ./
EXPOSE 8000
CMD ["uvicorn", "gateway:app", "--host", "0.0.0.0", "--port", "8000"]

FROM runtime AS worker
COPY --from=build-worker /opt/usagepipe /opt/usagepipe
EXPOSE 6066
ENTRYPOINT ["usagepipe"]
CMD ["worker"]
