"""DynamoDB: a table for items, which keeps large values on a shelf beside it."""
