"""Convolution, BatchNorm and ReLU (and max-pooling) as one block in C++, exact to its second derivative.

`build` compiles it, `function` makes it an autograd Function, `fuse` finds in a module where it applies. It runs only
inside `running`, which the threaded strategy uses; everywhere else a module's own layers do.
"""
