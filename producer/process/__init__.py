"""What depends on the process around us: native threads, uWSGI, SIGTERM, a log that cannot fail."""
