"""Whether a server is set up well: one check for each thing that goes wrong in practice."""
