"""What depends on the process around us: native threads, uWSGI, SIGTERM."""
