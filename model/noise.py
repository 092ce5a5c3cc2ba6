"""The noise a shot starts from, as a function of (seed, latent): any pod draws its own part, and a shot can grow.

c channels, h w latent height and width, L latents.

Philox's counter gives the bits, Wichura's AS 241 turns them into normal values with +, -, x, / and square roots alone
(its logarithm is a series too): every one of those is rounded correctly by IEEE 754, so the same seed gives the same
bits on every machine. A random generator's own normal values promise that nowhere.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

Noise = Callable[[int], Tensor]  # latent index -> [c, h, w]
F64 = NDArray[np.float64]

# Wichura (1988), Algorithm AS 241, PPND16: numerators and denominators, lowest power first.
CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
MIDDLE = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
TAIL = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def latent_noise(seed: int, latent: int, shape: tuple[int, int, int]) -> Float[Tensor, "c h w"]:
    """Return the standard normal float32 noise of one latent, on the CPU.

    Raises: ValueError when seed or latent is outside 0 .. 2**64 - 1.
    """
    if not (0 <= seed < 2**64 and 0 <= latent < 2**64):
        raise ValueError(f"seed {seed} and latent {latent} must be in 0 .. 2**64 - 1")
    bits = np.random.Philox(key=seed + (latent << 64)).random_raw(int(np.prod(shape)))
    uniform = ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52  # (0, 1), symmetric about a half
    return torch.from_numpy(normal_quantile(uniform).astype(np.float32)).reshape(shape)


def shot_noise(seed: int, shape: tuple[int, int, int]) -> Noise:
    """Return the noise of a whole shot as a function of the latent index."""
    return lambda latent: latent_noise(seed, latent, shape)


def given_noise(noise: Float[Tensor, "c total h w"]) -> Noise:
    """Return noise that was drawn as a whole as a function of the latent index."""
    return lambda latent: noise[:, latent]


def normal_quantile(p: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Return the standard normal quantile of each p in (0, 1), relative error about 1e-15 (AS 241)."""
    q = p - 0.5
    r = 0.180625 - q * q
    out: F64 = q * _ratio(CENTRE, r)
    outer = np.flatnonzero(np.abs(q) > 0.425)
    depth = np.sqrt(-_log(np.minimum(p[outer], 1.0 - p[outer])))
    tail = np.where(depth <= 5.0, _ratio(MIDDLE, depth - 1.6), _ratio(TAIL, depth - 5.0))
    out[outer] = np.where(q[outer] < 0, -tail, tail)
    return out


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: F64) -> F64:
    above, below = (_polynomial(side, x) for side in coefficients)
    return above / below


def _polynomial(coefficients: tuple[float, ...], x: F64) -> F64:
    value = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


def _log(x: F64) -> F64:
    """Return ln x from arithmetic alone: x = m 2**e with m in [0.7, 1.42), ln m = 2 artanh((m - 1) / (m + 1))."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < 0.7071067811865476
    m, e = np.where(low, 2.0 * mantissa, mantissa), exponent - low
    u = (m - 1.0) / (m + 1.0)  # |u| < 0.172, so u**24 / 25 is below 1e-19
    return 2.0 * u * _polynomial(tuple(1.0 / (2 * k + 1) for k in range(12)), u * u) + e * 0.6931471805599453
