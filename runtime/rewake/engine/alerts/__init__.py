"""Who is told of runs that failed, are stuck or late."""
