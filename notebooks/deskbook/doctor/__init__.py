"""`deskbook doctor`: would lab and test work here, and if not, what to do."""
