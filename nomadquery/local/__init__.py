"""An embedded, NOMAD-compatible deployment."""
