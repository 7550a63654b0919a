"""Moving in from other gateways: what their databases hold becomes ours."""
