"""The Python environment of a checkout: made from `requirements.lock`, checked against it, exported to conda.

Everything here but `installed` runs on the standard library alone: it runs before anything is installed.
"""
