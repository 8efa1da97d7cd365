"""The toolkit of the FastAPI Deskbook: what notebooks, exercises and the command line import."""
