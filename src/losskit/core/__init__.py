"""The contract of every loss: checks, domains, reduction, cards, modules. Knows no loss, imports torch only."""
