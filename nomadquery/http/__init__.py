"""The only way out: deployments, credentials, pace, transport and the endpoints of NOMAD's API."""
