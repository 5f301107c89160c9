"""Paragraphs that are common to the docstrings of both estimators, and of their `fit`."""

import re
import textwrap

PARAGRAPHS = {
    # Parameters that scikit-learn also has.
    "training": """\
hidden_layer_sizes : array-like of int or int, default=(100,)
    Units of each hidden layer; empty for a linear model.
activation : str, Activation, or list or tuple of these, default="relu"
    Activation of the hidden layers, or one for each of them: "identity", "logistic", "tanh",
    "relu", "hard_sigmoid", "hard_tanh", "leaky_relu", "prelu", "elu", "selu", "softplus",
    "swish" or "silu", "gelu", "maxout", "step"; or an object from `fastmlp.activations` (see
    there for the formulas), with its own parameters, such as
    ``LeakyReLU(negative_slope=0.1)``, ``Swish(learnable=True)``, ``Maxout(pieces=3)``, or with
    functions of your own.
solver : str or Optimizer, default="adam"
    "adam"; "sgd", stochastic gradient descent with momentum; "lbfgs", L-BFGS over all rows;
    "adamw", "nadam", "radam", "rmsprop", "adagrad", "lion"; or an object from
    `fastmlp.optimizers` (see there for the formulas) with its own parameters, such as
    ``SGD(momentum=0.5)``. "lion" needs a learning rate 3 to 10 times smaller than "adam".
alpha : float, default=0.0001
    L2 penalty: ``alpha / 2`` times the sum of squared weights is added to a batch's summed
    loss, so that its effect depends on the batch size.
batch_size : int or "auto", default="auto"
    Rows per mini-batch; "auto" is ``min(200, n_samples)``. Not used by "lbfgs".
learning_rate : str or Schedule, default="constant"
    Schedule of the learning rate. Three are scikit-learn's, which "adam" and "lbfgs" ignore:
    "constant"; "invscaling", ``learning_rate_init / (t + 1)**power_t``, with t the number of
    rows seen; "adaptive", divided by 5 whenever training stalls. The others are for every
    solver but "lbfgs", where they are an error: "cosine", "one_cycle" and "coslog4", which
    change with each step over `max_iter` epochs; "step", "exponential" and "plateau", after
    epochs; "warm_up"; or an object from `fastmlp.schedules` (see there for the formulas) with
    its own parameters, such as ``WarmUp(Cosine(end=0.01), epochs=3)``. `partial_fit` and warm
    starts go on in these.
learning_rate_init : float, default=0.001
    Initial learning rate; of "one_cycle", "coslog4" and "warm_up" the largest.
power_t : float, default=0.5
    Exponent of "invscaling".
max_iter : int, default=200
    Maximum number of epochs, or of L-BFGS iterations.
shuffle : bool, default=True
    Whether to shuffle the rows before each epoch.
random_state : int, RandomState or None, default=None
    Draws the initial weights, the validation rows and the shuffles, with the same numbers as
    scikit-learn.
tol : float, default=0.0001
    Improvement of loss or score below which an epoch counts as one without improvement. "lbfgs"
    stops when no component of the gradient is larger than this.
verbose : bool or int, default=False
    Whether to print the progress: True for every epoch, an integer n for the first and every
    n-th epoch.
warm_start : bool, default=False
    Whether `fit` continues from the weights of the last call.
momentum : float, default=0.9
    Momentum of "sgd", in [0, 1].
nesterovs_momentum : bool, default=True
    Whether "sgd" uses Nesterov's momentum, which looks ahead along the velocity.
early_stopping : bool, default=False
    Whether to stop by the score on validation rows, see `scoring`, and keep the best weights.
    These rows are passed to `fit`, or else a random share of the rows is held out. Not for
    "lbfgs".
validation_fraction : float, default=0.1
    Fraction of the rows held out, in [0, 1).
beta_1 : float, default=0.9
    Decay of the first moments of "adam", "adamw", "nadam" and "radam", in [0, 1).
beta_2 : float, default=0.999
    Decay of their second moments, in [0, 1).
epsilon : float, default=1e-8
    Added to their denominators.
n_iter_no_change : int or inf, default=10
    Epochs without improvement before training stops.
max_fun : int, default=15000
    Maximum number of evaluations of the loss, for "lbfgs".""",
    # Parameters that scikit-learn does not have.
    "beyond": """\
weight_init : str or (coefs, intercepts), default="glorot"
    Initial weights: "glorot" draws weights and biases as scikit-learn does. With biases of 0:
    "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "orthogonal",
    "zeros", or "auto", which chooses for each layer by its activation; see
    `fastmlp.initializers`. Or the arrays themselves, in the shapes of `coefs_` and
    `intercepts_`; they are copied.
l1 : float, default=0.0
    L1 penalty: ``l1`` times the sum of absolute weights is added to a batch's summed loss. Its
    derivative at 0 is taken to be 0. L-BFGS, made for smooth functions, may stall at such
    kinks: it brings weights near 0, but not exactly to 0.
weight_decay : float, default=0.0
    Each step shrinks the weights by a fraction: the learning rate times this. It is not part of
    the gradient and so not of Adam's moments. Biases do not decay. An optimiser's own decay,
    which is 0.01 for "adamw" and is for all parameters as in PyTorch, is added to this. Not for
    "lbfgs".
clip_norm : float, default=None
    Largest Euclidean norm of the gradient over all parameters, penalties included; a gradient
    with a larger norm is scaled down to it. Not for "lbfgs".
max_norm : float, default=None
    Largest Euclidean norm of the weights into a unit; after each step, weights with a larger
    norm are scaled down to it. Not for "lbfgs".
dropout : float or array-like of float, default=0.0
    Fraction of the hidden activations, for all layers or for each, that a training step drops,
    in [0, 1). The others are divided by the fraction kept, so that predictions need no change.
    The masks depend only on `random_state` and the step: they are the same on every device and
    for any number of threads. Not for "lbfgs".
input_dropout : float, default=0.0
    The same for the features.
scoring : str, callable or None, default=None
    Score on the validation rows, by which early stopping goes: None for that of `score`; "loss"
    for minus the loss; a name from scikit-learn such as "roc_auc"; or a function
    ``scorer(estimator, X, y)``, which is also passed `sample_weight` if the rows have weights.
    It returns a number: the larger, the better. X is an array or CSR matrix.
averaging : {"ema", "swa"}, default=None
    Whether to predict, and to score validation rows, with an average of the weights after each
    epoch. "ema", an exponential moving average (Polyak and Juditsky, 1992), of the weights w_e
    after epoch k is ``sum(d**(k - e) * w_e) / sum(d**(k - e))`` over the epochs e = 1, ..., k, with
    d = `averaging_decay`. "swa", stochastic weight averaging (Izmailov et al., 2018), is their
    mean from epoch `averaging_start` on. Epochs are counted over all calls. Training itself is the
    same as without an average: `loss_curve_` is of the weights that are averaged, and warm starts
    and `partial_fit` go on from these. Not for "lbfgs".
averaging_decay : float, default=0.9
    d, in [0, 1): about the last ``1 / (1 - d)`` epochs count.
averaging_start : float or int, default=0.75
    The first epoch to average with "swa", or the fraction of `max_iter` to leave out before. A fit
    that stops earlier has no average.
device : {"auto", "cpu", "cuda", "reference"}, default="auto"
    Where to compute: compiled code on the CPU, an NVIDIA GPU, or plain NumPy. "auto" is the CPU;
    it is a GPU for rows that lie there, and, in versions whose kernels have passed their tests on
    one, where a GPU can be used and would likely be faster. A device chosen by name is never
    replaced by another one. "cuda" needs the extra ``fastmlp[cuda13]`` or
    ``fastmlp[cuda12]`` and accepts no sparse X. X, y and weights may be on the GPU, in arrays
    with ``__cuda_array_interface__``; X is then used in place.
precision : {"float32", "tf32", "bf16"}, default="float32"
    How a GPU multiplies in training, if X is float32. "float32" is as exact as float32 on a CPU.
    "tf32" and "bf16" permit tensor cores to round the factors of matrix products to 11 and to 8
    significant bits, relative errors of at most 2^-11 and 2^-8, wherever this is faster. Sums,
    parameters, moments and everything else stay float32, and so do predictions. L-BFGS may stall
    at such errors. With ``device="auto"`` this is a permission, of which a CPU makes no use; a
    device chosen by name that cannot do it, and an X of float64, are errors.
n_jobs : int or None, default=None
    Maximum number of CPU threads, -1 for all cores. None uses idle cores if measurements during
    training show that this is faster. The result is bitwise the same for any number.""",
    # Attributes of a fitted estimator.
    "fitted": """\
coefs_ : list of ndarray of shape (fan_in, fan_out)
    Weights of each layer. In a maxout layer, column ``p * units + j`` is piece p of unit j.
intercepts_ : list of ndarray of shape (fan_out,)
    Biases of each layer.
activation_params_ : list of ndarray of shape (units,) or None
    Parameters that each hidden layer's activation has learned, one for each unit; None if it
    learns nothing.
n_features_in_ : int
    Number of features.
feature_names_in_ : ndarray of shape (n_features_in_,)
    Names of the features, if X had string column names.
n_layers_ : int
    Number of layers, input and output included.
out_activation_ : str
    Activation of the output layer.
n_iter_ : int
    Epochs or iterations of the last call.
t_ : int
    Number of rows seen in training, over all calls.
loss_ : float
    Loss of the last epoch, penalty included.
loss_curve_ : list of float
    Loss of every epoch, except for "lbfgs".
learning_rates_ : list of float
    Learning rate in the last step of every epoch, except for "lbfgs".
best_loss_ : float or None
    Lowest loss of an epoch; None with early stopping.
validation_loss_curve_ : list of float or None
    Mean loss of every epoch on the validation rows, without penalties; None without validation.
    With "lbfgs", this and the next two attributes are of every iteration.
best_validation_score_ : float or None
    Best validation score; None without validation.
best_iteration_ : int or None
    Epoch with the best validation score, of all calls, counted from 1. With early stopping, the
    weights are those of this epoch. None without validation.
device_ : str
    Device that the last fit ran on.""",
    # Of `fit`: parameters, and errors.
    "rows": """\
X : {array-like, sparse matrix} of shape (n_samples, n_features)
    Training data. float32 and float64 are kept, everything else becomes float64. Sparse
    matrices are not densified.""",
    "weights": """\
sample_weight : array-like of shape (n_samples,), default=None
    Weight of each row in the loss.
X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
    Validation rows. With ``early_stopping=True`` they take the place of the random share: all
    rows of X are trained on. Otherwise their loss and score are only recorded. In a pipeline,
    ``Pipeline(..., transform_input=["X_val"])`` transforms them like X.
y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
    Their labels or targets. Labels must occur in y.
sample_weight_val : array-like of shape (n_val,), default=None
    Their weights, by themselves: class weights are for the rows of X.""",
    "errors": """\
ValueError
    For invalid parameters or data, such as targets for which the loss is not defined, or if
    training diverged to weights that are not finite.
RuntimeError
    If ``device="cuda"`` cannot be used; the message says what is missing and what to do.
MemoryError
    If the GPU has too little memory for a batch.

After any of these exceptions, the estimator is unchanged.""",
}


def documented(estimator: type) -> type:
    """Insert the common paragraphs into the docstrings of a class and of a `fit` of its own."""
    own = [vars(estimator)["fit"]] if "fit" in vars(estimator) else []
    for described in (estimator, *own):
        if described.__doc__:  # there is none under python -OO
            described.__doc__ = re.sub(r"(?m)^( *)\{(\w+)\}$", _paragraph, described.__doc__)
    return estimator


def _paragraph(name):
    return textwrap.indent(PARAGRAPHS[name[2]], name[1])
