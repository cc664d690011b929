"""CouCE-style parts: intervention, dictionary, objective, second view."""
