"""One module for each wire format in which a web server asks. Each turns it into an access request and back."""
