"""The script of texts or tokens: a small GRU, which is enough to see a loss fall and no language model to be used."""

from __future__ import annotations

from . import reading, training
from .loss import code_of, loss_of
from .names import assigned
from .plan import Plan
from .rows import header, usage

__all__ = ["script"]

_BYTES = '''def bytes_of(cell):
    """A text as bytes; none where there is no text."""
    return b"" if cell is None else str(cell).encode()


def tokens_of(table, known):
    """The bytes of each text after a mark of its beginning, (N, LONGEST + 1); -100 behind the end counts nothing."""
    rows = [[256, *bytes_of(cell)[:LONGEST]] for cell in table[TEXT]]
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=-100)'''
_TOKENS = '''def tokens_of(table, known):
    """The numbers of each row's tokens after a mark of its beginning; -100 behind the end counts nothing."""
    place = {token: i for i, token in enumerate(known)}
    new, begin = len(known), len(known) + 1  # a token that was never seen, and the mark
    rows = [[begin, *(place.get(token, new) for token in (row or ())[:LONGEST])] for row in table[TEXT]]
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
def judge(model, held, flat):
    """The perplexity of the texts held out, beside that of answering by frequency alone."""
    model.eval()
    ours, without = losskit.Perplexity(), losskit.Perplexity()
    for some in held.split(BATCH):
        ours.update(model(some)[:, :-1], some[:, 1:])
        without.update(flat.expand(*some[:, 1:].shape, -1), some[:, 1:])
    print(f"{'perplexity':<22} {float(ours.compute()):10.4g}   without inputs {float(without.compute()):10.4g}")'''
_START = '''def start():
    """Read, split, and what training begins with."""
    torch.manual_seed(SEED)
    table = read()
    known = {known}
    tokens = tokens_of(table, known)
    long = sum({length} > LONGEST for cell in table[TEXT])
    if long:
        print(f"{{long}} of {{len(tokens)}} {what} are cut to {{LONGEST}} {unit}")
    rows = (tokens[:, 1:] >= 0).any(1).nonzero()[:, 0]  # those with something to predict
    rows = rows[torch.randperm(len(rows))]
    held, train = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    vocabulary = {vocabulary}
    model = Model(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def batches():
        return (tokens[rows] for rows in train[torch.randperm(len(train))].split(BATCH))

    made = {{"model": model, "batch": next(iter(batches())), "step": loss_of, "optimizer": optimizer}}
    counts = tokens[train, 1:][tokens[train, 1:] >= 0].bincount(minlength=vocabulary)
    flat = (counts + 1.0).log()  # the best answer without inputs: by frequency
    without = loss_of(lambda tokens: flat.expand(*tokens.shape, -1), tokens[held]).item()
    return made, batches, tokens[held], {{"known": known, "vocabulary": vocabulary}}, flat, without'''
_MAIN = f'''def main():
    """Train, judge, save."""
    made, batches, held, saved, flat, without = start()
    model, optimizer = made["model"], made["optimizer"]
    {training.CHECK}
    fit(model, optimizer, batches, held, without)
    judge(model, held, flat)
    torch.save({{"model": model.state_dict(), **saved}}, SAVED)'''
_PREDICT = '''@torch.no_grad()
def predict(table, file=SAVED):
    """The loss of each row of a table, in nats a token: the lower, the more like what was trained on; NaN where there is none."""
    saved = torch.load(file)
    model = Model(saved["vocabulary"]).eval()
    model.load_state_dict(saved["model"])
    rows = tokens_of(table, saved["known"])
    return [loss_of(model, row[None]).item() if (row[1:] >= 0).any() else math.nan for row in rows]'''


_TEXTS = {"length": "len(bytes_of(cell))", "what": "texts", "unit": "bytes", "vocabulary": "257"}
_ROWS = {"length": "len(cell or ())", "what": "rows", "unit": "tokens", "vocabulary": "len(known) + 2"}


def script(plan: Plan, name: str) -> str:
    """All pieces in the order in which they are read."""
    code = code_of(plan)
    assert plan.text is not None  # plan_of() has looked
    texts = plan.text.kind == "text"
    known = "None" if texts else "sorted({token for row in table[TEXT] if row for token in row})"
    pieces = [
        reading.reader(plan),
        _BYTES if texts else _TOKENS,
        _MODEL,
        loss_of(plan, code, ["tokens = batch", "logits = model(tokens)"]),
        _JUDGE,
        training.fit(plan, code, without=True),
        _START.format(known=known, **(_TEXTS if texts else _ROWS)),
        training.MAKE,
        _MAIN,
        _PREDICT,
    ]
    settings = [assigned("TEXT", plan.text.name)]
    settings += ["SEED, EPOCHS, PATIENCE, RATE = 0, 15, 3, 3e-3", "BATCH, LONGEST = 32, 128"]
    return header(plan, name, ["copy", "math"], settings) + "\n\n\n".join(pieces) + "\n\n\n" + usage(name)
