"""Watches requests and calls (ASGI, WSGI, httpx, LiteLLM) and makes events of them."""
