"""The rules of `deskbook notebook lint`, grouped by what they look at."""
