"""The service under study: a paper-trading desk."""
