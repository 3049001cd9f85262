"""The script of texts or tokens: a small GRU, which is enough to see a loss fall and no language model to be used."""

from __future__ import annotations

from . import reading, training
from .loss import code_of, loss_of
from .names import assigned
from .plan import Plan
from .rows import header, usage

__all__ = ["script"]

_BYTES = '''def tokens_of(table, known):
    """The bytes of each text after a mark of its beginning, (N, LONGEST + 1); -100 behind the end counts nothing."""
    rows = [[256, *word(cell).encode()[:LONGEST]] for cell in table[TEXT] if word(cell)]
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=-100)'''
_TOKENS = '''def tokens_of(table, known):
    """The numbers of each row's tokens after a mark of its beginning; -100 behind the end counts nothing."""
    place = {token: i for i, token in enumerate(known)}
    new, begin = len(known), len(known) + 1  # a token that was never seen, and the mark
    rows = [[begin, *(place.get(token, new) for token in row[:LONGEST])] for row in table[TEXT] if row]
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=-100)'''
_MODEL = '''class Model(nn.Module):
    """A GRU of one layer: it learns short patterns. For real use put a pre-trained model and its tokenizer here."""

    def __init__(self, vocabulary, width=64):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.gru = nn.GRU(width, 2 * width, batch_first=True)
        self.head = nn.Linear(2 * width, vocabulary)
        nn.init.normal_(self.head.weight, std=0.01)  # begin by knowing nothing

    def forward(self, tokens):
        return self.head(self.gru(self.embed(tokens.clamp(min=0)))[0])'''
_JUDGE = '''@torch.no_grad()
def judge(model, train, held):
    """The perplexity of the texts held out, beside that of answering by frequency alone."""
    ours, flat = losskit.Perplexity(), losskit.Perplexity()
    share = (train[train >= 0].bincount(minlength=model.head.out_features) + 1.0).log()
    for some in held.split(BATCH):
        ours.update(model(some)[:, :-1], some[:, 1:])
        flat.update(share.expand(*some[:, 1:].shape, -1), some[:, 1:])
    print(f"{'perplexity':<22} {float(ours.compute()):10.4g}   without inputs {float(flat.compute()):10.4g}")'''
_MAIN = '''def main():
    """Read, split, train, judge, save."""
    torch.manual_seed(SEED)
    table = read()
    known = {known}
    tokens = tokens_of(table, known)
    rows = torch.randperm(len(tokens))
    held, train = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    vocabulary = {vocabulary}
    print(f"{{vocabulary}} tokens: fresh weights cost ln {{vocabulary}} = {{math.log(vocabulary):.4g}}")
    model = Model(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def batch(rows):
        return tokens[rows]

    def batches():
        return (batch(rows) for rows in train[torch.randperm(len(train))].split(BATCH))

    {check}
    fit(model, optimizer, batches, batch(held))
    judge(model, batch(train), batch(held))
    torch.save({{"model": model.state_dict(), "known": known, "vocabulary": vocabulary}}, SAVED)'''
_PREDICT = '''@torch.no_grad()
def predict(table, file=SAVED):
    """The loss of each row of a table, in nats a token: the lower, the more it is like what was trained on."""
    saved = torch.load(file)
    model = Model(saved["vocabulary"])
    model.load_state_dict(saved["model"])
    return [loss_of(model, row[None]).item() for row in tokens_of(table, saved["known"])]'''


def script(plan: Plan, name: str) -> str:
    """All pieces in the order in which they are read."""
    code = code_of(plan)
    assert plan.text is not None  # plan_of() has looked
    texts = plan.text.kind == "text"
    # frequency in training rows: a token that comes once is as good as never seen
    known = "None" if texts else "sorted({token for row in table[TEXT] if row for token in row})"
    pieces = [
        reading.reader(plan),
        *reading.cells(plan, words=texts, numbers=False),
        _BYTES if texts else _TOKENS,
        _MODEL,
        loss_of(plan, code, ["tokens = batch", "logits = model(tokens)"]),
        _JUDGE,
        training.fit(plan, code),
        _MAIN.format(check=training.CHECK.format(loss="loss_of"), known=known, vocabulary="257" if texts else "len(known) + 2"),
        _PREDICT,
    ]
    settings = [assigned("TEXT", plan.text.name), *([reading.missing()] if texts else [])]
    settings += ["SEED, EPOCHS, PATIENCE, RATE = 0, 15, 3, 3e-3", "BATCH, LONGEST = 32, 128"]
    return header(plan, name, ["copy", "math"], settings) + "\n\n\n".join(pieces) + "\n\n\n" + usage(name)
