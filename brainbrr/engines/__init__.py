"""Where work runs: in this process, in others of this machine, on a Dask cluster, in SLURM jobs.

An engine takes tasks and yields how each of them ended. It knows nothing of EEG, stores and catalogs: the caller's
`Work` does a task. Any engine may lose a task or do it twice, so work must be idempotent.
"""
