"""Where work runs: in this process, in others of this machine, on a Dask cluster, in SLURM jobs.

An engine gets tasks and says of each how it ended. It knows nothing of EEG, stores and catalogs: what is done to a
task is the caller's `Work`. Any engine may lose a task or do it twice, so work has to be idempotent.
"""
