"""Ranking metrics of scores and relevance, list by list, and of yes-or-no scores over a whole stream."""
