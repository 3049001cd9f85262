"""Every public name of losskit; the package loads this file at the first attribute that is asked for."""

# star imports are the point of this file: each module says what is public in __all__

from . import doctor as doctor
from . import evaluate as evaluate
from .choosing.advice import Advice as Advice
from .choosing.advice import Candidate as Candidate
from .choosing.choose import *
from .core.card import CATALOGUE as CATALOGUE
from .core.card import Card as Card
from .core.card import Levels as Levels
from .core.card import reference as reference
from .core.check import ShapeError as ShapeError
from .core.check import debug as debug
from .core.module import Loss as Loss
from .core.reduce import Parts as Parts
from .core.reduce import parts as parts
from .evaluate.calibration.brier import *
from .evaluate.calibration.error import *
from .evaluate.calibration.stream import *
from .evaluate.calibration.temperature import *
from .evaluate.figures import *
from .evaluate.metric import *
from .losses.adaptive import *
from .losses.alignment import *
from .losses.approx_mrr import *
from .losses.approx_ndcg import *
from .losses.asymmetric import *
from .losses.auc import *
from .losses.aucm import *
from .losses.aum import *
from .losses.batch_contrastive import *
from .losses.batch_triplet import *
from .losses.binary import *
from .losses.bpr import *
from .losses.cached_step import *
from .losses.circle import *
from .losses.class_weights import *
from .losses.clip import *
from .losses.contrastive import *
from .losses.contrastive_stats import *
from .losses.cosent import *
from .losses.cross_entropy import *
from .losses.crps import *
from .losses.deviance import *
from .losses.distillation import *
from .losses.distillation_sparse import *
from .losses.focal import *
from .losses.gumbel import *
from .losses.huber import *
from .losses.imbalance import *
from .losses.info_nce import *
from .losses.koleo import *
from .losses.lambda_weights import *
from .losses.lifted_structure import *
from .losses.likelihood import *
from .losses.likelihood_counts import *
from .losses.linear_cross_entropy import *
from .losses.linear_distillation import *
from .losses.linear_distillation_sparse import *
from .losses.linear_focal import *
from .losses.linear_log_probs import *
from .losses.listmle import *
from .losses.listnet import *
from .losses.lovasz import *
from .losses.margin_softmax import *
from .losses.masks import *
from .losses.matryoshka import *
from .losses.multi_similarity import *
from .losses.multiple_negatives import *
from .losses.n_pair import *
from .losses.neural_ndcg import *
from .losses.nt_xent import *
from .losses.pairwise_exponential import *
from .losses.pairwise_hinge import *
from .losses.pairwise_logistic import *
from .losses.pairwise_mse import *
from .losses.pixels import *
from .losses.plistmle import *
from .losses.poly import *
from .losses.poly1_softmax import *
from .losses.propensity import *
from .losses.proxies import *
from .losses.quantile import *
from .losses.queue import *
from .losses.ranking_stats import *
from .losses.redescending import *
from .losses.redundancy import *
from .losses.regression import *
from .losses.relative import *
from .losses.robust import *
from .losses.robust_named import *
from .losses.sampling import *
from .losses.segmentation import *
from .losses.sequence import *
from .losses.supervised_contrastive import *
from .losses.triplet import *
from .losses.uniformity import *
from .losses.unique_softmax import *
