"""Django, by ASGI and by WSGI. Its settings are those of the process, made once."""

import json

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from tests.support.frameworks import answers


def chat(request: HttpRequest) -> HttpResponse:
    json.loads(request.body)
    return JsonResponse(answers.CHAT)


def stream(request: HttpRequest) -> HttpResponse:
    by_asgi = hasattr(request, "scope")
    chunks = answers.async_stream() if by_asgi else answers.stream()
    return StreamingHttpResponse(chunks, content_type="text/event-stream")


def fails(request: HttpRequest) -> HttpResponse:
    answers.fail()
    return HttpResponse()


urlpatterns = [path("chat", chat), path("stream", stream), path("fails", fails)]

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, LOGGING_CONFIG=None, SECRET_KEY="for tests"
)
django.setup()
by_asgi = ASGIHandler()
by_wsgi = WSGIHandler()
