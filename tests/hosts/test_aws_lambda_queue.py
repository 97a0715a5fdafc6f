"""AWS Lambda with a queue: starts are requests, work comes in batches, a schedule looks ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from tests.hosts.test_aws_lambda import HANDLER, environ
from tests.support.functions import Function, held_in
from tests.support.queues import environment, two_queues


@contextmanager
def mapped(function: Function, queue: str) -> Iterator[list[Any]]:
    """What Lambda does with a queue: batches of one, deleted unless they are said to have failed.

    The list has what the function answered.
    """
    sqs, over, answers = boto3.client("sqs"), threading.Event(), list[Any]()
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]

    def carry(message: dict[str, Any]) -> None:
        record = {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "eventSource": "aws:sqs",
        }
        answer = function.invoke({"Records": [record]})
        answers.append(answer)
        if not answer["batchItemFailures"]:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def poll() -> None:
        workers = []
        while not over.is_set():
            found = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, AttributeNames=["All"])
            for each in found.get("Messages", ()):
                workers.append(threading.Thread(target=carry, args=(each,)))
                workers[-1].start()
        for each in workers:
            each.join()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()
        sqs.close()


def test_a_queue_carries_the_work_of_functions(tmp_path: Path) -> None:
    """Tasks and sleeps are messages of a queue, and what acts on them holds nothing afterwards."""
    with two_queues() as (queue, dead):
        settings = environ(tmp_path, dispatcher="sqs", queue=queue, dead_letters=dead)
        with (
            Function(HANDLER, {**environment(), **settings}) as function,
            mapped(function, queue) as answers,
        ):
            four = function.client.post("/v1/workflows/four/runs", params={"wait": 20})
            assert four.status_code == 200, function.logs()
            assert [part for part, _ in four.json()["result"]] == [0, 1, 2, 3]
            body = {"seconds": 1.2}
            nap = function.client.post("/v1/workflows/naps/runs", params={"wait": 20}, json=body)
            assert nap.json()["result"] == "rested", function.logs()
            assert function.invoke({"rewake": "sweep"}) == {}
            assert {"batchItemFailures": []} in answers
        assert held_in(tmp_path) == []
