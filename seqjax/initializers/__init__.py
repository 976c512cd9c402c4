"""Initial values of weights and gates."""

from seqjax.initializers.gate_biases import Chrono as Chrono
from seqjax.initializers.gate_biases import Gates as Gates
from seqjax.initializers.gate_biases import chrono_biases as chrono_biases
from seqjax.initializers.weights import GlorotUniform as GlorotUniform
from seqjax.initializers.weights import Identity as Identity
from seqjax.initializers.weights import Initializer as Initializer
from seqjax.initializers.weights import Normal as Normal
from seqjax.initializers.weights import Orthogonal as Orthogonal
from seqjax.initializers.weights import Uniform as Uniform
