"""Work shared out over ranks, kept in a journal, told as it goes."""
