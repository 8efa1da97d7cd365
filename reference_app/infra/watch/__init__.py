"""What those see who watch the service: health and metrics."""
