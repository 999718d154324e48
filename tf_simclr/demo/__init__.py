"""A page to look at: an exported model behind a small web application of this machine alone."""
