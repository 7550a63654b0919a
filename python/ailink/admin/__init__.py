"""Managing the gateway: services over the store and the data plane, and the handlers over the services."""
