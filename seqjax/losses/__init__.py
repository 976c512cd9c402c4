"""Losses over sequences; padding changes neither their values nor their gradients."""

from seqjax.losses.adaptive import AdaptiveSoftmax as AdaptiveSoftmax
from seqjax.losses.adaptive import AdaptiveSoftmaxParams as AdaptiveSoftmaxParams
from seqjax.losses.adaptive import AdaptiveTail as AdaptiveTail
from seqjax.losses.crf import CRFParams as CRFParams
from seqjax.losses.crf import Marginals as Marginals
from seqjax.losses.crf import crf_log_partition as crf_log_partition
from seqjax.losses.crf import crf_loss as crf_loss
from seqjax.losses.crf import crf_marginals as crf_marginals
from seqjax.losses.ctc import ctc_loss as ctc_loss
from seqjax.losses.sampled import Proposal as Proposal
from seqjax.losses.sampled import make_proposal as make_proposal
from seqjax.losses.sampled import sampled_softmax_losses as sampled_softmax_losses
from seqjax.losses.tokens import LossSum as LossSum
from seqjax.losses.tokens import bits_per_character as bits_per_character
from seqjax.losses.tokens import cross_entropy as cross_entropy
from seqjax.losses.tokens import cross_entropy_sum as cross_entropy_sum
from seqjax.losses.tokens import perplexity as perplexity
from seqjax.losses.tokens import soft_target_losses as soft_target_losses
from seqjax.losses.tokens import token_losses as token_losses
from seqjax.losses.transducer import transducer_loss as transducer_loss
from seqjax.losses.unlikelihood import previous_tokens as previous_tokens
from seqjax.losses.unlikelihood import unlikelihood_losses as unlikelihood_losses
