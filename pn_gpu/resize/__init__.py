"""Networks of other widths that compute nearly the same: hidden particles removed, merged, or split in two.

A particle network holds a few numbers for every node, so its width can be changed when it is trained. The functions
return new networks on the backend of the old one and leave that as it is.
"""

from pn_gpu.resize.grow import grow
from pn_gpu.resize.prune import prune

__all__ = ["grow", "prune"]
