# One image for every process of Cadenza; docker-compose.yml and the Procfile say which runs where.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 cadenza
WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY . .
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 DJANGO_ENV=production CADENZA_DATA_DIR=/tmp/cadenza
RUN SESSION_SECRET=build python manage.py collectstatic --noinput --verbosity 0
USER cadenza
EXPOSE 8000
CMD ["python", "-m", "config.web", "--host", "0.0.0.0", "--port", "8000", "--ws-max-size", "65536", "--timeout-graceful-shutdown", "10", "--no-server-header"]
