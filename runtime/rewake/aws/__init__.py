"""What talks to AWS: who this process is there, and requests that are signed so."""
