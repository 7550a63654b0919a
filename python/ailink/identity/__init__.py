"""Who may do what: permissions, roles and the caller as an actor."""
