"""authgate: answers a web server's question "may this request pass?"."""

__version__ = "0.1.0"
