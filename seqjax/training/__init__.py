"""Training: a step over any loss, its regularisers, averaging, adaptation, and saved state."""

from seqjax.training.averaging import TriggeredAverage as TriggeredAverage
from seqjax.training.averaging import TriggeredAverageState as TriggeredAverageState
from seqjax.training.dynamic_evaluation import DynamicEvaluation as DynamicEvaluation
from seqjax.training.dynamic_evaluation import dynamic_evaluation as dynamic_evaluation
from seqjax.training.regularizers import activation_penalty as activation_penalty
from seqjax.training.regularizers import drop_weights as drop_weights
from seqjax.training.regularizers import temporal_penalty as temporal_penalty
from seqjax.training.saving import Restored as Restored
from seqjax.training.saving import latest_checkpoint as latest_checkpoint
from seqjax.training.saving import restore_checkpoint as restore_checkpoint
from seqjax.training.saving import save_checkpoint as save_checkpoint
from seqjax.training.step import Metrics as Metrics
from seqjax.training.step import TrainState as TrainState
from seqjax.training.step import clip_by_global_norm as clip_by_global_norm
from seqjax.training.step import global_norm as global_norm
from seqjax.training.step import init_train_state as init_train_state
from seqjax.training.step import make_train_step as make_train_step
from seqjax.training.updates import decay_towards as decay_towards
from seqjax.training.updates import mean_squared_gradients as mean_squared_gradients
from seqjax.training.updates import scale_by_mean_squares as scale_by_mean_squares
