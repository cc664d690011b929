"""One module for each loss. Modules own the proxies; the functions compute."""
