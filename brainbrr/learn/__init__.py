"""Learning from views: loader, model, training, evaluation. The only package that imports torch."""

from brainbrr.settings import let_threads_sleep

let_threads_sleep()
