"""The formulas in the figures whose digits are not numbers; the numbers themselves are in losskit.verify.figure_numbers."""

from __future__ import annotations

FORMULAS = {
    "d02_cross_entropy": {
        "−[y ln p + (1 − y) ln(1 − p)]",
        "−Σ y ln p  =  −ln p(true)",
        "ln Σ exp(z) − z(true),   gradient: softmax(z) − onehot",
    },
    "d04_gradients": {"1 − p", "2p(1 − p)²"},
    "d07_contrastive": {
        "½ d²   or   ½ max(0, m − d)²",
        "max(0, d(a, p) − d(a, n) + m)",
        "−ln softmax(cosine / τ)",
        "½",
    },
    "d09_label_smoothing": {"ε / K", "ε / (K − 1)"},
    "d10_class_imbalance": {"N / (K n)", "(1 − p)²"},
}
