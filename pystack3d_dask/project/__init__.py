"""Projects on disk: parameters, records, stored state."""
