"""The claims, each as one sentence of ours, and what is left out of them."""

from __future__ import annotations

__all__ = ["CLAIMS", "NOTES"]

CLAIMS = {
    "R1": "A loss says how wrong a prediction is: lowest where the prediction is perfect, at the floor that its card states.",
    "R2": "Training is going down a loss: 200 steps on one batch take away 99 % of what lies above its floor.",
    "R3": "Binary cross-entropy is -y ln p - (1 - y) ln(1 - p) to twelve digits for scores up to 745, and no tail is lost.",
    "R4": "Cross-entropy of two classes is binary cross-entropy, in value and gradient, to the last digit.",
    "R5": "It costs -ln p: a confident mistake costs as much as its scores are apart, and stays finite.",
    "R6": "It is maximum likelihood: the best scores are log frequencies, exp(-n loss) is the product of probabilities.",
    "R7": "Its gradient on a logit is that of squared error divided by 2 p (1 - p), so a wrong belief is left sooner.",
    "R8": "At p = 0.0001 the gradient of squared error is 0.0002 and that of cross-entropy 1.",
    "R9": "Perplexity is the exponential of all nats over all tokens, whatever the batches, their order, padding or ranks.",
    "R10": "A model that hesitates between k equally likely tokens has a perplexity of k; nobody has less than 1.",
    "R11": "Squared error is the mean of squares, and the mean is its best constant.",
    "R12": "Twice the error costs four times as much squared, and twice as much absolute.",
    "R13": "Absolute error is fitted by the median: one value in five moved by 95 moves the mean by 19 and the median by 0.",
    "R14": "Targets with outliers are answered with absolute error or Huber, and the measured tail is shown.",
    "R15": "A contrastive loss pulls together what is the same and pushes the rest apart up to a margin.",
    "R16": "A triplet costs what it lacks to its margin, and nothing once it is met; a margin beyond every distance is named.",
    "R17": "InfoNCE is a softmax over the batch: CLIP takes it in both directions, SimCLR over two views; it begins at ln N.",
    "R18": "Multiple negatives give sentence-transformers' numbers, without a table of N x N scores.",
    "R19": "A yes/no question is answered with binary cross-entropy.",
    "R20": "One class of several is answered with cross-entropy.",
    "R21": "A number is answered with squared error or, where its tails say so, with a robust one.",
    "R22": "Embeddings are answered with contrastive or triplet losses, pairs alone with multiple negatives.",
    "R23": "A language model is answered with cross-entropy per token: shifted, padding ignored, the mean over tokens.",
    "R24": "Ranking is answered with pairwise or listwise losses, and learning lifts NDCG above BM25.",
    "R25": "The answer changes with the data: imbalance, outliers, soft labels, several labels, grades.",
    "R26": "What cannot learn one batch is found by trying: each known mistake gets a diagnosis of its own, a sound run none.",
    "R27": "A validation loss that rises while training falls is called overfitting, and a healthy run is not.",
    "R28": "A NaN is traced to the batch, module or weight that it came from, in a log that hides it too.",
    "R29": "Imbalance is met by weights, of three formulas, or by focal loss, which is cross-entropy to the bit at gamma 0.",
    "R30": "Label smoothing has a floor that is known, and goes with weights, ignored rows and a fused head.",
    "R31": "A model that says one thing to everything stands at the entropy of the classes, and is named.",
    "R32": "A softmax or sigmoid too many before a loss is named with its plateau, and so is squared error of a classifier.",
    "R33": "A perplexity is never a bare number: tokens, bytes, window, stride, tokenizer and bits per byte are beside it.",
    "R34": "Every variant of a contrastive loss takes the same tensors and fits into sentence-transformers.",
    "R35": "Every figure is drawn from the losses themselves, and every printed number is recomputed.",
    "R36": "Each demo runs offline on data that is already there and says what it measured.",
    "R37": "Every answer of the quiz is computed.",
    "R38": "The losses and the doctor work inside of Trainer, Accelerate, Lightning, sentence-transformers and torchmetrics.",
    "R39": "A default call is torch's number to one unit in the last place where torch's is the right one.",
}
NOTES = {
    "R1": "for a loss whose best prediction lies at infinity (cross-entropy) or is a region (a margin that is met), other "
    "predictions are only shown not to be lower.",
    "R2": "`gaussian_nll_loss` and `laplace_nll_loss` have no lowest value, as a density has no highest; `beta_nll_loss` follows "
    "a gradient that is not the slope of its value; `smape_loss` is flat where the sign is wrong; `uniformity_loss` of a few "
    "points is a search of its own. They are only shown to fall. Where a card states no floor, the end of a long search stands "
    "for it.",
    "R18": "the numbers are those of the installed sentence-transformers.",
    "R36": "no time is asserted, since it depends on the machine.",
    "R38": "timm is not among the tests' libraries: its convention, `criterion(logits, target)`, is tested in a plain loop.",
    "R39": "element by element, in float32, for cross-entropies; bit for bit for errors of numbers. Where torch is off "
    "[From torch](../guide/from-torch.md) has the numbers.",
}
