"""paradox: how spurious rewards unlock memorised answers in language models.

The packages follow the data: ``tasks`` makes items and texts, ``train`` makes checkpoints,
``evaluate`` and ``mechanisms`` measure them, ``stats`` and ``figures`` sum up, and ``study``
turns the configuration into a plan. ``paradox.runner`` runs one step at a time.
"""

__version__ = "0.1.0"
