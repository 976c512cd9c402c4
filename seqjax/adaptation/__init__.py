"""Models that go on adapting while they are evaluated: to what they have just been scored on."""

from seqjax.adaptation.cache import CacheInput as CacheInput
from seqjax.adaptation.cache import NeuralCache as NeuralCache
from seqjax.adaptation.cache import NeuralCacheCarry as NeuralCacheCarry
from seqjax.training.dynamic_evaluation import DynamicEvaluation as DynamicEvaluation
from seqjax.training.dynamic_evaluation import dynamic_evaluation as dynamic_evaluation
from seqjax.training.updates import decay_towards as decay_towards
from seqjax.training.updates import mean_squared_gradients as mean_squared_gradients
from seqjax.training.updates import scale_by_mean_squares as scale_by_mean_squares
