"""What a table of DynamoDB has to be: said once, for `rewake tables` and for CloudFormation.

On demand, so that nothing is paid while nothing runs. One index, of keys alone, and of the items
that have a due time: a copy of more would be written with every change. No TTL, for what is removed
is decided by this software and not by a clock in an item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.stores.dynamodb.attributes import DUE, PART, PARTITION, SORT

INDEX = "due"
"""The name of the due index."""
ON_DEMAND = "PAY_PER_REQUEST"
"""The way in which nothing is paid while nothing runs."""


def definition(name: str) -> dict[str, Any]:
    """The table, as `CreateTable` takes it, and as the properties of `AWS::DynamoDB::Table`."""
    types = {PARTITION: "S", SORT: "S", PART: "S", DUE: "N"}
    return {
        "TableName": name,
        "BillingMode": ON_DEMAND,
        "AttributeDefinitions": [
            {"AttributeName": each, "AttributeType": letter} for each, letter in types.items()
        ],
        "KeySchema": _keys(PARTITION, SORT),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": INDEX,
                "KeySchema": _keys(PART, DUE),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    }


def template() -> dict[str, Any]:
    """The table and a bucket for large values, as a template of CloudFormation."""
    named = {"Ref": "TableName"}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "What Rewake keeps in AWS: a table for runs, a bucket for large values.",
        "Parameters": {"TableName": {"Type": "String", "Default": "rewake"}},
        "Resources": {
            "Table": {
                "Type": "AWS::DynamoDB::Table",
                "DeletionPolicy": "Retain",
                "UpdateReplacePolicy": "Retain",
                "Properties": {
                    **definition(""),
                    "TableName": named,
                    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                },
            },
            "Values": {
                "Type": "AWS::S3::Bucket",
                "DeletionPolicy": "Retain",
                "UpdateReplacePolicy": "Retain",
                "Properties": bucket_properties(),
            },
        },
        "Outputs": {
            "Database": {"Value": {"Fn::Sub": "dynamodb://${Table}"}},
            "Blobs": {"Value": {"Fn::Sub": "s3://${Values}"}},
        },
    }


def bucket_properties() -> dict[str, Any]:
    """The bucket: shut to everybody else, and encrypted; no half of an upload is left in it."""
    encrypted = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    halves = {
        "Id": "incomplete-uploads",
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    return {
        "BucketEncryption": {"ServerSideEncryptionConfiguration": [encrypted]},
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        "LifecycleConfiguration": {"Rules": [halves]},
    }


def misfits(table: Mapping[str, Any]) -> list[str]:
    """What does not fit of a table, as `DescribeTable` tells of it: a line each."""
    wanted = definition("")
    types = {
        each["AttributeName"]: each["AttributeType"] for each in wanted["AttributeDefinitions"]
    }
    found = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    told = []
    if _schema(table) != _schema(wanted):
        told.append(f"its keys are {_schema(table)}, and must be {_schema(wanted)}")
    told += [
        f"its attribute {name} is of type {found[name]}, and must be of {letter}"
        for name, letter in types.items()
        if found.get(name, letter) != letter
    ]
    return [*told, *_index_misfits(table, wanted["GlobalSecondaryIndexes"][0]), *_replicas(table)]


def _index_misfits(table: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    index = index_of(table)
    if index is None:
        return [f"it has no index {INDEX}: rewake tables create makes it"]
    if _schema(index) != _schema(wanted):
        return [f"the keys of its index {INDEX} are {_schema(index)}: must be {_schema(wanted)}"]
    if index["Projection"]["ProjectionType"] != wanted["Projection"]["ProjectionType"]:
        return [f"its index {INDEX} has more than keys, and would be written with every change"]
    return []


def _replicas(table: Mapping[str, Any]) -> list[str]:
    """A table whose regions are written to at once breaks conditions, if the last write wins."""
    others = [each["RegionName"] for each in table.get("Replicas", ())]
    if not others or table.get("MultiRegionConsistency") == "STRONG":
        return []
    told = f"it is a global table ({', '.join(others)}) in which the last write wins"
    return [f"{told}: no condition holds in it; use one region, or strong consistency"]


def index_of(table: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The due index of a table, if it has one."""
    indexes: list[Mapping[str, Any]] = table.get("GlobalSecondaryIndexes", [])
    return next((each for each in indexes if each["IndexName"] == INDEX), None)


def is_on_demand(table: Mapping[str, Any]) -> bool:
    """Whether a table is paid by what is done."""
    summary = table.get("BillingModeSummary") or {}
    mode: str = summary.get("BillingMode", "PROVISIONED")
    return mode == ON_DEMAND


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def _schema(of: Mapping[str, Any]) -> str:
    names = {each["KeyType"]: each["AttributeName"] for each in of["KeySchema"]}
    return ", ".join(names[kind] for kind in ("HASH", "RANGE") if kind in names)
