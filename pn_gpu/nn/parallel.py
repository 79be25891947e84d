"""Tensor parallelism: a particle layer's node sets, activations and work split over processes.

Styles for `torch.distributed.tensor.parallel.parallelize_module`, beside torch's own for `nn.Linear`. Column-wise
splits the output particles and z, row-wise the input particles and x. A column-wise layer and the row-wise one after
it have the node set between them split alike, so that nothing is exchanged there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ParallelStyle

from pn_gpu.kernels.room import Particles
from pn_gpu.nn.dipole_field import DipoleField
from pn_gpu.nn.linear import ParticleLinear


@dataclass(frozen=True)
class TensorParallel:
    """How one layer is computed by the processes of a mesh."""

    style: _ParticleParallel
    mesh: DeviceMesh

    def forward(self, layer: ParticleLinear, x: Tensor) -> Tensor:
        """z for x, each in the layout of the style."""
        if not isinstance(x, DTensor):
            x = _distributed(x, self.mesh, self.style.input_layouts, layer.in_features)
        z = self.style.compute(layer, x, self.mesh)
        z = z.redistribute(placements=[self.style.output_layouts])
        return z.to_local() if self.style.use_local_output else z


class _ParticleParallel(ParallelStyle):
    """What the two styles have in common: the layouts of x and z, and where the parameters lie.

    A node set is distributed once, by the first layer that has it. A layer that wants it otherwise redistributes the
    O(N) particles in its forward, as autograd does their gradient.
    """

    input_particles: ClassVar[Placement]
    output_particles: ClassVar[Placement]

    def __init__(self, input_layouts: Placement, output_layouts: Placement, use_local_output: bool) -> None:
        super().__init__()
        self.input_layouts = input_layouts
        self.output_layouts = output_layouts
        self.use_local_output = use_local_output

    def compute(self, layer: ParticleLinear, x: DTensor, mesh: DeviceMesh) -> DTensor:
        """z [..., M] for x [..., N] of any layout."""
        raise NotImplementedError

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        if not isinstance(module, ParticleLinear):
            raise TypeError(f"module: got {type(module).__name__}, want a ParticleLinear")
        if any(isinstance(nodes, DipoleField) for nodes in (module.in_particles, module.out_particles)):
            raise TypeError("module: got one with a DipoleField, want Particles: numbers of a field are no node's own")
        if device_mesh.ndim != 1:
            raise ValueError(f"device_mesh: got {device_mesh.ndim} dimensions, want one of them: mesh[name]")
        self._distribute(module.in_particles, device_mesh, self.input_particles)
        self._distribute(module.out_particles, device_mesh, self.output_particles)
        self._distribute(module, device_mesh, self.output_particles)
        module.tensor_parallel = TensorParallel(self, device_mesh)
        module.planner.reset()
        return module

    def _distribute(self, module: nn.Module, mesh: DeviceMesh, placement: Placement) -> None:
        """The parameters that ``module`` itself has, where they are not distributed yet."""
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not isinstance(parameter, DTensor):
                distributed = distribute_tensor(parameter, mesh, [placement], src_data_rank=self.src_data_rank)
                module.register_parameter(name, nn.Parameter(distributed, requires_grad=parameter.requires_grad))
        for name, fixed in list(module.named_buffers(recurse=False)):
            if not isinstance(fixed, DTensor):
                module.register_buffer(name, distribute_tensor(fixed, mesh, [placement]))


class ColwiseParticleParallel(_ParticleParallel):
    """Split a `ParticleLinear` by its output particles: every process computes its part of z from the whole x.

    Parameters
    ----------
    input_layouts : Placement, default Replicate()
        Layout of x where it comes as a local tensor.
    output_layouts : Placement, default Shard(-1)
        Layout of z: a `RowwiseParticleParallel` layer takes the default as it is.
    use_local_output : bool, default True
        Whether z is this process's local tensor rather than a DTensor.

    Raises
    ------
    TypeError, ValueError
        From `parallelize_module`, if the module is no `ParticleLinear` or the mesh has more than one dimension.

    Examples
    --------
    >>> model = ParticleMLP([784, 512, 10])                                             # doctest: +SKIP
    >>> plan = {"layers.0": ColwiseParticleParallel(), "layers.1": RowwiseParticleParallel()}    # doctest: +SKIP
    >>> parallelize_module(model, init_device_mesh("cuda", (2,)), plan)                 # doctest: +SKIP
    """

    input_particles, output_particles = Replicate(), Shard(0)

    def __init__(
        self,
        *,
        input_layouts: Placement | None = None,
        output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ) -> None:
        super().__init__(input_layouts or Replicate(), output_layouts or Shard(-1), use_local_output)

    def compute(self, layer: ParticleLinear, x: DTensor, mesh: DeviceMesh) -> DTensor:
        r_in, v_in, r_out, v_out = layer._operands()
        particles = Particles(_whole(r_in), _whole(v_in), _part(r_out, 0), _part(v_out, 0))
        bias = None if layer.bias is None else _part(cast(DTensor, layer.bias), 0)
        return _distributed(layer._compute(_whole(x), particles, bias), mesh, Shard(-1), layer.out_features)


class RowwiseParticleParallel(_ParticleParallel):
    """Split a `ParticleLinear` by its input particles: every process computes its share of the whole z from its part
    of x, and the shares are summed.

    Parameters
    ----------
    input_layouts : Placement, default Shard(-1)
        Layout of x where it comes as a local tensor.
    output_layouts : Placement, default Replicate()
        Layout of z. The default takes an all-reduce, ``Shard(0)`` a reduce-scatter.
    use_local_output
        As in `ColwiseParticleParallel`.

    Raises
    ------
    TypeError, ValueError
        As `ColwiseParticleParallel`.
    """

    input_particles, output_particles = Shard(0), Replicate()

    def __init__(
        self,
        *,
        input_layouts: Placement | None = None,
        output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ) -> None:
        super().__init__(input_layouts or Shard(-1), output_layouts or Replicate(), use_local_output)

    def compute(self, layer: ParticleLinear, x: DTensor, mesh: DeviceMesh) -> DTensor:
        r_in, v_in, r_out, v_out = layer._operands()
        particles = Particles(_part(r_in, 0), _part(v_in, 0), _whole(r_out), _whole(v_out))
        share = layer._compute(_part(x, -1), particles, None)
        z = _distributed(share, mesh, Partial(), layer.out_features).redistribute(placements=[self.output_layouts])
        if layer.bias is None:
            return z
        # Even where it is whole already: its gradient, of which each process knows a share, is summed on the way back.
        bias = cast(DTensor, layer.bias).redistribute(placements=[Replicate()])
        return cast(DTensor, z + bias.to(z.dtype))


def _whole(t: DTensor) -> Tensor:
    """All of a tensor, from which this process computes but a share of the gradient."""
    return _waited_for(t.redistribute(placements=[Replicate()]).to_local(grad_placements=[Partial()]))


def _part(t: DTensor, dim: int) -> Tensor:
    """This process's part of a tensor that is split along ``dim``."""
    return _waited_for(t.redistribute(placements=[Shard(dim)]).to_local())


def _waited_for(t: Tensor) -> Tensor:
    """A plain tensor: one of a collective still in flight becomes one by any operation."""
    return t if type(t) is Tensor else t.clone()


def _distributed(local: Tensor, mesh: DeviceMesh, placement: Placement, features: int) -> DTensor:
    """The DTensor [..., features] of which every process has ``local``; parts may differ by one in size."""
    if placement not in (Shard(-1), Shard(local.ndim - 1)):
        return DTensor.from_local(local, mesh, [placement], run_check=False)
    whole = torch.empty((*local.shape[:-1], features), device="meta")
    shape, stride = whole.shape, whole.stride()
    return DTensor.from_local(local, mesh, [placement], run_check=False, shape=shape, stride=stride)
