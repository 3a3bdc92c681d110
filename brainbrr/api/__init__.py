"""The Python API: each command as a function, with the settings that the command line would use.

`data` makes and reads stores, `learn` feeds and trains models, `keep` checks, repairs and deletes, `look` shows, and
`share` moves what is stored between stores.
"""

from __future__ import annotations

from brainbrr.api.data import bench as bench
from brainbrr.api.data import demo as demo
from brainbrr.api.data import export as export
from brainbrr.api.data import ingest as ingest
from brainbrr.api.data import init as init
from brainbrr.api.data import open_store as open_store
from brainbrr.api.data import split as split
from brainbrr.api.data import status as status
from brainbrr.api.data import view as view
from brainbrr.api.data import why as why
from brainbrr.api.keep import check as check
from brainbrr.api.keep import forget as forget
from brainbrr.api.keep import gc as gc
from brainbrr.api.keep import pin as pin
from brainbrr.api.keep import recipes as recipes
from brainbrr.api.keep import recompress as recompress
from brainbrr.api.keep import repair as repair
from brainbrr.api.keep import verify as verify
from brainbrr.api.learn import data_module as data_module
from brainbrr.api.learn import evaluate as evaluate
from brainbrr.api.learn import loader as loader
from brainbrr.api.learn import predict as predict
from brainbrr.api.learn import runs as runs
from brainbrr.api.learn import score as score
from brainbrr.api.learn import train as train
from brainbrr.api.look import config as config
from brainbrr.api.look import diff as diff
from brainbrr.api.look import doctor as doctor
from brainbrr.api.look import log as log
from brainbrr.api.look import ls as ls
from brainbrr.api.look import report as report
from brainbrr.api.look import show as show
from brainbrr.api.look import usage as usage
from brainbrr.api.share import bundle as bundle
from brainbrr.api.share import lock as lock
from brainbrr.api.share import pull as pull
from brainbrr.api.share import push as push
from brainbrr.api.share import remotes as remotes
from brainbrr.api.share import unbundle as unbundle
from brainbrr.eeg.signal.recipe import Recipe as Recipe
from brainbrr.errors import BrainbrrError as BrainbrrError
from brainbrr.learn.config import TrainConfig as TrainConfig
from brainbrr.loading.augment import Augment as Augment
from brainbrr.loading.index import Index as Index
from brainbrr.loading.loader import Loader as Loader
from brainbrr.loading.windows import WindowSpec as WindowSpec
from brainbrr.store.store import Store as Store
from brainbrr.views.view import View as View
