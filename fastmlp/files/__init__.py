"""Files of fitted estimators: what is in one, so that another language can read it.

A file is a ``.npz`` file of NumPy: a ZIP archive whose members are stored without compression. One
member, ``fastmlp.json``, is JSON text in UTF-8. Every other one, ``NAME.npy``, is an array in
NumPy's format 1.0: little-endian numbers, rows in order, no objects. Nothing else is in it: no
functions or objects of the user's own, no callbacks, no metadata requests.

The JSON object has these keys:

``format``, ``version``
    ``"fastmlp network"``, and the number of the format: 1. A reader refuses a larger number. A key
    that is not listed here may come without a new number; it may be ignored.
``written_by``
    ``"fastmlp 0.1.0"``: for people.
``class``
    ``"MLPClassifier"`` or ``"MLPRegressor"``.
``parameters``
    The constructor's parameters.
``network``
    ``units``, the widths of all layers, features first; ``activation``, a list with one for each
    hidden layer; ``output_activation``; and ``loss``.
``outputs``
    What `predict_proba` or `predict` makes of the outputs of a row: ``"plain"``, nothing;
    ``"pair"``, of the single output p the two numbers 1 - p and p; ``"shares"``, each output
    divided by their sum, or 1 divided by their number if that is 0.
``labels``
    null for a regressor; otherwise ``classes``; ``type``, which is ``"binary"``, ``"multiclass"``,
    ``"multilabel-indicator"``, or null if `classes_` was set by hand; and ``sparse``, whether
    labels were given as a sparse matrix.
``feature_names``
    A list of strings, or null.
``attributes``
    Other fitted attributes.
``continuation``
    The small part of the state that a later fit continues.
``training``
    null, or the large part: ``optimizer`` with its moments, and ``last_weights`` if the network's
    own are an average of those.
``arrays``
    For each array of the file, by name: ``dtype``, ``shape``, and ``crc32``, the checksum of its
    member, as in the archive. dtypes are ``<f4`` (float32), ``<f8`` (float64), and integers such as
    ``<i8``.

Layer k, counted from 0, has the weights ``coefs_k`` of shape (fan_in, fan_out) and the biases
``intercepts_k`` (fan_out,); the outputs of all units for rows X are f(X W + b). Of a maxout layer
with p pieces, fan_out is p times the number of units: column i n + j belongs to piece i of unit j
of n. The parameters that the activation of hidden layer k has learned are ``activation_params_k``,
with one for each unit, instead of the number in its specification. Formulas are in
`fastmlp.activations`. Moments and other packed vectors have all weights, then all biases, then all
parameters that activations have learned.

Values that JSON lacks are objects; their first key says what they are:

=====================================  =============================================
``{"activation": "elu", "alpha": 1}``  an activation with its parameters; also "loss",
                                       "optimizer", "schedule"
``{"array": "coefs_0"}``               the array of this name
``{"dtype": "int64", "values": []}``   a vector of labels; "str" or "object" are strings
``{"tuple": []}``                      a tuple
``{"dict": [[key, value]]}``           a mapping, whose keys may be numbers
``{"float": "inf"}``                   "inf", "-inf" or "nan"
``{"random_state": {}, "pos": 0}``     the state of a Mersenne Twister
=====================================  =============================================
"""

from .archive import read, write
from .errors import FileError, brief
from .keys import KEYS, check_keys
from .values import SPECIFICATIONS, Decoder, Encoder, known_labels, labels
from .whole import whole_file

__all__ = [
    "KEYS",
    "SPECIFICATIONS",
    "Decoder",
    "Encoder",
    "FileError",
    "brief",
    "check_keys",
    "known_labels",
    "labels",
    "read",
    "whole_file",
    "write",
]
