"""The operator for the Gaussian through Mehler's formula: O(N + M) work and memory instead of O(N M).

For any t in (0, 1) and per axis, exactly (Mehler's formula for the Hermite functions),

    exp(-(x - y)^2) = sum_k f_k(x) f_k(y)
    f_0 = (1 - t^2)^(1/4) exp(-(1 - t) x^2)
    f_{k+1} = sqrt(2 (1 - t^2) / (k + 1)) x f_k - t sqrt(k / (k + 1)) f_{k-1}
    f_k' = -2 (1 - t) x f_k + sqrt(2 k (1 - t^2)) f_{k-1}

A feature Phi_a(r) is a product of one f per axis, in centred and rotated coordinates, for a in a finite set
of P degrees. With A[i, (d, a)] = v_id Phi_a(r_i) for the inputs and C likewise for the outputs, W is about A
C^T and

    z  = (x A) C^T + b
    Y  = x A        dY = dz C        dx = dY A^T        dA = x^T dY        dC = dz^T Y
    dv_id = sum_a dA_ida Phi_a(r_i)       dr_i = sum_a (sum_d v_id dA_ida) grad Phi_a(r_i)

Every |Phi| is at most 1 and sum_a Phi_a(r)^2 at most 1; what is missing, e(r) = 1 - sum_a Phi_a(r)^2, bounds
the error of every weight: |dK_ij| <= sqrt(e_i e_j). Particles whose e is too large are left out of the
expansion; their exact weights are further columns of A and C.

A room of `pn_gpu.kernels.room` for arrays of any library of the array API standard; the potential is the Gaussian.
"""

from pn_gpu.kernels.mehler.backward import backward
from pn_gpu.kernels.mehler.expansion import Approximation, Expansion
from pn_gpu.kernels.mehler.forward import Residuals, forward

__all__ = ["Approximation", "Expansion", "Residuals", "backward", "forward"]
