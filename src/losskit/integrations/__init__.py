"""losskit inside of other libraries, a file for each; losskit itself imports none of them.

The metrics need no file for PyTorch Ignite, since its events are enough::

    metric = losskit.Perplexity()
    evaluator.add_event_handler(Events.EPOCH_STARTED, lambda engine: metric.reset())
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: metric.update(*engine.state.output))

and ``metric.sync().compute()`` after ``evaluator.run(data)``.
"""
