"""Django's settings, all derived from the typed environment; wiring only, no decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog
from csp.constants import NONCE, NONE, SELF

from config import embedded
from config.connections import database, redis_database
from config.env import CHECKOUT, env

BASE_DIR: Path = CHECKOUT
DEBUG = False
ALLOWED_HOSTS = env.allowed_hosts
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
FORMAT_MODULE_PATH = ["config.formats"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/"

SERVICES = embedded.addresses(env)
SECRET_KEY = env.secret_key(Path(SERVICES.data_dir))
FIELD_ENCRYPTION_KEYS = env.encryption_keys(Path(SERVICES.data_dir))

# Who shows nobody an admin starts half a second earlier without its pages.
HAS_ADMIN = not env.cadenza_role.startswith(("beat", "worker", "flower"))

INSTALLED_APPS = [
    "config",
    "scheduler_app",
    "agents_app",
    "errors_app",
    "executions_app",
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin" if HAS_ADMIN else "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "django_htmx",
    "django_celery_beat",
    "django_structlog",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "scheduler_app.answers.badge",
            ],
        },
    },
]

DATABASES: dict[str, dict[str, Any]] = {
    "default": database(SERVICES.database_url, role=env.cadenza_role, size=env.database_pool_size)
}
DATABASES["default"]["TEST"] = {"NAME": "test_cadenza"}

REDIS_BROKER_URL = redis_database(SERVICES.redis_url, 0)
REDIS_RESULTS_URL = redis_database(SERVICES.redis_url, 1)
REDIS_CHANNELS_URL = redis_database(SERVICES.redis_url, 2)

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            "hosts": [
                {"address": REDIS_CHANNELS_URL, "socket_timeout": 15, "socket_connect_timeout": 3}
            ],
            "capacity": 1000,
            "expiry": 30,
            "group_expiry": 14_400,
        },
    }
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = env.is_production
CSRF_COOKIE_SECURE = env.is_production
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 500
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "EXCLUDE_URL_PREFIXES": ("/admin",),
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "executions_app.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["executions_app.api.parsers.SnakeCaseJSONParser"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "executions_app.api.pagination.NewestFirst",
    "DEFAULT_SCHEMA_CLASS": "executions_app.api.openapi.ProblemSchema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_FORMATTER_CLASS": "executions_app.api.problems.ProblemFormatter",
    "EXCEPTION_HANDLER_CLASS": "executions_app.api.problems.ProblemHandler",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Cadenza",
    "DESCRIPTION": "Schedules, executions and errors of a Cadenza installation.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "ExecutionStatus": "executions_app.api.serializers.EXECUTION_STATUSES",
        "BreakerStatus": "errors_app.api.breaker_serializers.BREAKER_STATES",
        "ErrorClass": "errors_app.api.serializers.ERROR_CLASSES",
        "HealthStatus": ["ok", "failing"],
        "Severity": "errors_app.api.alert_serializers.SEVERITIES",
        "AlertKind": "errors_app.api.alert_serializers.ALERT_KINDS",
        "AlertStatus": "errors_app.api.alert_serializers.ALERT_STATUSES",
        "OverlapPolicy": "scheduler_app.api.serializers.OVERLAP_POLICIES",
        "FireReason": "scheduler_app.api.foresight_serializers.FIRE_REASONS",
        "BackfillStatus": "scheduler_app.api.foresight_serializers.BACKFILL_STATUSES",
        "AgentState": "agents_app.api.serializers.AGENT_STATES",
        "ApprovalStatus": ["waiting", "approved", "rejected", "expired", "withdrawn"],
        "StepStatus": [
            "planned",
            "queued",
            "running",
            "completed",
            "failed",
            "skipped",
            "cancelled",
        ],
    },
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
}

UNFOLD = {
    "SITE_TITLE": "Cadenza",
    "SITE_HEADER": "Cadenza",
    "SITE_URL": "/",
    "SITE_SYMBOL": "schedule",
}

DJANGO_STRUCTLOG_CELERY_ENABLED = True

SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
# A plain stack: the library's own shows what every variable holds, secrets too, and takes seconds.
READABLE = structlog.dev.ConsoleRenderer(
    colors=False, exception_formatter=structlog.dev.plain_traceback
)
RENDERERS: list[Any] = (
    [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if env.is_production
    else [READABLE]
)
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *RENDERERS,
            ],
            "foreign_pre_chain": SHARED_PROCESSORS,
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["console"], "level": env.log_level},
    "loggers": {
        "django_structlog": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "django.channels.server": {"level": "WARNING"},
        "uvicorn.access": {"level": "WARNING"},
        "urllib3": {"level": "INFO"},  # at DEBUG it repeats paths, which may be tokens
    },
}
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *SHARED_PROCESSORS,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)

SILENCED_SYSTEM_CHECKS: list[str] = []
