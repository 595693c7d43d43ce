"""A trained run as one module, from dense features and ids to scores.

Model servers join requests along a first dimension, the batch, which every input must have. So the
ids of a list column are a matrix as wide as the longest list, filled up with NO_ID.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fae.format.manifest import Manifest
from fae.format.serving import describe_inputs
from fae_trainer.model.recommender import make_network
from fae_trainer.parameters import resolve_parameters
from fae_trainer.run.checkpoint import Checkpoint


class ScoringModel(nn.Module):
    """Maps tensors as `inputs` describes them, in this order, to logits and scores, (batch,)."""

    def __init__(self, manifest: Manifest, checkpoint: Checkpoint) -> None:
        """Take the weights of a checkpoint, whose tables stay mapped to its file.

        Raises DatasetError where the network's weights do not fit its parameters.
        """
        super().__init__()
        self.parameters_of_run = resolve_parameters({}, manifest, checkpoint.parameters)
        self.inputs = describe_inputs(manifest)
        sparse = manifest.features.sparse
        names = [table.name for table in manifest.tables]
        self._columns = [(feature.multi, names.index(feature.table)) for feature in sparse]
        #: The features of each dim, in the order in which the network takes them.
        self._groups = [
            [n for n, feature in enumerate(sparse) if manifest.table(feature.table).dim == dim]
            for dim in dict.fromkeys(table.dim for table in manifest.tables)
        ]
        self.tables = nn.ParameterList(
            nn.Parameter(checkpoint.rows[name], requires_grad=False) for name in names
        )
        self.network = make_network(manifest, self.parameters_of_run)
        checkpoint.restore_network(self.network)
        self.requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and outputs."""
        dtype: torch.dtype = self.tables[0].dtype
        return dtype

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the probabilities that the first label is 1."""
        given = {tensors.name: values for tensors, values in zip(self.inputs, inputs, strict=True)}
        lists = [given[tensors.name] for tensors in self.inputs if tensors.holds_lists]
        plain = given["ids"].unbind(1) if "ids" in given else ()
        left = {True: iter(lists), False: iter(plain)}
        vectors = [
            _sum_rows(self.tables[table], next(left[is_list]))
            if is_list
            else functional.embedding(next(left[is_list]), self.tables[table])
            for is_list, table in self._columns
        ]
        groups = [torch.stack([vectors[n] for n in group], dim=1) for group in self._groups]
        # A network without a bottom MLP does not look at dense features.
        dense = given["dense"].to(self.dtype) if "dense" in given else groups[0]
        logit = self.network(dense, groups)
        return logit, torch.sigmoid(logit)


def _sum_rows(table: Tensor, ids: Tensor) -> Tensor:
    """Return the sum of each list's rows, (batch, dim)."""
    rows = functional.embedding(ids.clamp(min=0), table)
    return torch.where((ids >= 0).unsqueeze(2), rows, 0).sum(dim=1)
