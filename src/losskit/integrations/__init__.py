"""losskit inside of other libraries, a file for each; losskit itself imports none of them.

=================================  =====================================================================
file                               what it has
=================================  =====================================================================
``torchmetrics``                   ``Perplexity`` as a ``Metric``
``sentence_transformers``          ``SentenceTransformerLoss`` for a trainer of embeddings
``hf``                             ``MonitorCallback``: the doctor in transformers' ``Trainer``
``lightning``                      ``MonitorCallback``: the doctor in Lightning's ``Trainer``
``accelerate``                     ``monitored``: the doctor around ``accelerator.backward``
=================================  =====================================================================

The metrics need no file for PyTorch Ignite, since its events are enough::

    metric = losskit.Perplexity()
    evaluator.add_event_handler(Events.EPOCH_STARTED, lambda engine: metric.reset())
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: metric.update(*engine.state.output))

and ``metric.sync().compute()`` after ``evaluator.run(data)``.
"""
