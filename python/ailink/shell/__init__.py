"""The management side over HTTP: routes, policies, schemas and the server on a private Unix socket."""
