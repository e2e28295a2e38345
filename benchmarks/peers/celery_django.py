"""Beside the product: Django's settings for Celery's two Django peers."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from benchmarks.peers import stage

_url = urlsplit(stage.DATABASE_URL)
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django_celery_results",
    "django_celery_beat",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _url.path.lstrip("/"),
        "USER": _url.username or "postgres",
        "HOST": dict(parse_qsl(_url.query)).get("host") or unquote(_url.hostname or ""),
        "CONN_MAX_AGE": None,  # a connection lives longer than a task
    }
}
