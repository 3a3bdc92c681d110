"""Learning from views: loader, model, training, evaluation. The only package that imports torch."""
