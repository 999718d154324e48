"""Where images come from: sources, label subsets, and the pipeline by position.

Importing this package loads neither TensorFlow nor TensorFlow Datasets; what needs them imports them.
"""

from tf_simclr.data.arrays import from_arrays, from_dataset
from tf_simclr.data.labels import draw_labels
from tf_simclr.data.load import load_data
from tf_simclr.data.source import Data, Source

__all__ = ["Data", "Source", "draw_labels", "from_arrays", "from_dataset", "load_data"]
