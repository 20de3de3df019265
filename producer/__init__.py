"""What runs in the web process: the recorder and the middleware."""
