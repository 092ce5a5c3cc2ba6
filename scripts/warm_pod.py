"""Imported once by the process that pods are forked from: a node on which the weights are already in memory."""

import boto3  # noqa: F401
import torch

import tasks.local_pods
import tasks.take  # noqa: F401
from tasks.pod import load_once

torch.set_num_threads(1)  # no thread may exist when pods are forked
load_once("puppet")
