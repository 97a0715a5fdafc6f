"""For AWS Lambda: the handler is `handlers.aws_lambda.handler`.

Configured by the environment alone, as any server; `REWAKE_DISPATCHER` must be one that sends
messages, and `REWAKE_DB` a database that all instances share.
"""

from rewake.hosts.aws_lambda import LambdaHost

handler = LambdaHost.from_env()
